//! `mooring promote` and `mooring forget`: a person's decisions, by the credentials of kubectl.

use anyhow::Context as _;
use clap::Args;
use cluster::id::NodeId;

use crate::registry;

/// Which pod becomes the master of its shard.
#[derive(Args, Clone, Debug)]
pub struct Promote {
    /// The namespace of the StatefulSet.
    #[arg(short, long)]
    namespace: String,
    /// The StatefulSet.
    set: String,
    /// One of its pods: a replica whose master does not come back.
    pod: String,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Which node is not to come back.
#[derive(Args, Clone, Debug)]
pub struct Forget {
    /// The namespace of the StatefulSet.
    #[arg(short, long)]
    namespace: String,
    /// The StatefulSet.
    set: String,
    /// The node's id, 40 hexadecimal digits.
    #[arg(value_parser = id)]
    node_id: NodeId,
}

/// Has the record name an heir.
pub async fn promote(options: &Promote) -> anyhow::Result<()> {
    let Promote { namespace, set, pod, dry_run } = options;
    let done = registry::promote(client().await?, namespace, set, pod, *dry_run).await?;
    println!("{done}");
    Ok(())
}

/// Has the record keep a node away.
pub async fn forget(options: &Forget) -> anyhow::Result<()> {
    let Forget { namespace, set, node_id } = options;
    println!("{}", registry::forget(client().await?, namespace, set, *node_id).await?);
    Ok(())
}

async fn client() -> anyhow::Result<kube::Client> {
    kube::Client::try_default().await.context("no Kubernetes by KUBECONFIG or in this pod")
}

fn id(text: &str) -> Result<NodeId, String> {
    text.parse().map_err(|e| format!("{e}"))
}
