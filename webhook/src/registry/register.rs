//! Registering, viewing and reporting.
//!
//! Reads in parallel, the write, and the pods as they are after it: three round trips to the API
//! server, one more for a blank disk.

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::Ordinal;
use cluster::past::{Claim, Facts, is_unrecorded, past};
use cluster::plan::Plan;
use cluster::protocol::{Member, Pod as PodSeen, Register, Report, View};
use cluster::record::{self, Place};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tracing::info;

use super::credential::Who;
use super::ended::Ended;
use super::record::{ClusterRecord, Entry};
use super::sets::{Sets, made};
use super::store::is_not_found;
use super::wanted::Wanted;
use super::{Fault, Registry, events};
use crate::admission;
use crate::names;

/// What is known of a set when one of its pods asks.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) sets: Sets,
    pub(super) record: ClusterRecord,
    pub(super) pods: BTreeMap<String, PodSeen>,
    pub(super) claims: Vec<Claim>,
    /// The pods that have a claim; `None` where it can not be told.
    pub(super) claimed: Option<BTreeSet<String>>,
}

// === impl Registry ===

impl Registry {
    /// A member tells who and where it is, and reads the others.
    pub(super) async fn register(&self, token: &str, body: &Register) -> Result<View, Fault> {
        let claimed = Who::claimed(token)
            .ok_or_else(|| Fault::Credential("the token is not a pod's".to_owned()))?;
        let (namespace, set_name) = (claimed.namespace.as_str(), claimed.set()?);
        let (records, pods) = (self.store().records(namespace), self.store().pods(namespace));
        let blank = body.disk.identity.is_none() && !body.disk.data;
        // Whoever has no data has to know who else may have some.
        let empty = !body.disk.data;

        // All at once; what is read for a lie is thrown away with the answer of the review.
        let living = async {
            let sets = self.store().sets_of(namespace, set_name).await?;
            let pods = match &sets {
                Some(sets) if blank => self.store().pods_of(sets, None, namespace).await?,
                _ => BTreeMap::new(),
            };
            Ok::<_, Fault>((sets, pods))
        };
        let (who, pod, living, record, claims) = tokio::join!(
            self.reviewer.review(token),
            pods.get_opt(&claimed.pod),
            living,
            records.get_opt(set_name),
            self.store().claims(namespace, empty),
        );
        let who = who?;
        if who != claimed {
            return Err(Fault::Credential("the token's claims are not the API server's".into()));
        }
        let (sets, living) = living?;
        let sets =
            sets.ok_or_else(|| Fault::Refused(format!("there is no StatefulSet {set_name}")))?;
        let pod = pod?.filter(|p| p.metadata.uid.as_deref() == Some(&who.uid));
        let pod = pod.ok_or_else(|| Fault::Credential(format!("pod {} is gone", who.pod)))?;
        check_member(&pod, set_name)?;
        let cluster = sets.cluster.as_str();
        let record = match record? {
            // That of a cluster of one StatefulSet does not change any more.
            Some(record) if cluster == set_name && record.spec.plan.sets.is_empty() => record,
            _ => self.store().ensure(namespace, &wanted(&sets)?).await?,
        };

        let mut known = record.members();
        if living.iter().any(|(name, pod)| is_unrecorded(name, pod, &known)) {
            // It may have registered and started between the two readings.
            known = records.get(cluster).await?.members();
        }
        let before = known.get(&who.pod).cloned();
        let claims = claims?;
        let reasons = if blank {
            reasons(&who.pod, &sets, &record, &living, &claims, &known)
        } else {
            Vec::new()
        };
        let place = Place { namespace, set: set_name };
        let plan = &record.spec.plan;
        if blank && reasons.is_empty() && plan.vacant() > 0 {
            return Err(incomplete(cluster, plan));
        }
        let who_it_is =
            record::entry(place, cluster, plan, &who.pod, body, before.as_ref(), &reasons);
        let node_id = who_it_is.node_id;

        let ended = |uid: &str| self.ended.contains(uid);
        let lingering = record::lingering(before.as_ref(), &who.uid, ended);
        let registered_at = format!("{:.6}", Timestamp::now());
        let entry = Entry {
            node_id,
            ips: &body.ips,
            ports: body.ports,
            pod_uid: &who.uid,
            registered_at: &registered_at,
            disk: &who_it_is.disk,
            was: who_it_is.was.as_ref(),
            lingering: &lingering,
        };
        let written = match self.write(namespace, cluster, &who.pod, entry.merge()).await {
            // Somebody has deleted the record since: it is rebuilt from registrations.
            Err(Fault::Unavailable(why)) if why == GONE => {
                self.store().ensure(namespace, &wanted(&sets)?).await?;
                self.write(namespace, cluster, &who.pod, entry.merge()).await?
            }
            other => other?,
        };
        // Only what is read after the write may hide an entry.
        let ((), pods) = tokio::join!(
            self.store().note(namespace, &sets, &written),
            self.store().pods_of(&sets, Some(&written), namespace),
        );
        let pods = pods?;
        let claims = if empty { sets.claimed(&claims) } else { None };
        let view = self.view_of(&who, &sets, &written, pods, reasons, before, claims);
        info!(
            namespace, cluster, pod = who.pod, node_id = node_id.map(|id| id.to_string()), ips = ?body.ips,
            blank, past = view.past.len(),
            predecessor_ended = view.predecessor_ended, step = body.step, "Registered"
        );
        self.tidy_later(namespace, written);
        Ok(view)
    }

    /// What a pod's hooks ask for.
    pub(super) async fn view(&self, token: &str) -> Result<View, Fault> {
        let who = self.hook(token)?;
        let around = self.around(&who).await?;
        Ok(self.view_around(&who, around, None))
    }

    /// What is there now, for the bearer of a token who has registered.
    pub(super) async fn around(&self, who: &Who) -> Result<Around, Fault> {
        let (namespace, set_name) = (who.namespace.as_str(), who.set()?);
        let (found, claims) = tokio::join!(
            self.store().cluster_of(namespace, set_name),
            self.store().claims(namespace, true)
        );
        let (sets, record) = found?;
        let record = record.ok_or_else(|| no_record(&sets.cluster))?;
        let pods = self.store().pods_of(&sets, Some(&record), namespace).await?;
        if pods.get(&who.pod).is_none_or(|p| p.uid != who.uid) {
            return Err(Fault::Credential(format!("pod {} is gone", who.pod)));
        }
        let claims = claims?;
        let claimed = sets.claimed(&claims);
        Ok(Around { sets, record, pods, claims, claimed })
    }

    /// That, as the bearer sees it.
    pub(super) fn view_around(&self, who: &Who, around: Around, before: Option<Member>) -> View {
        let Around { sets, record, pods, claims, claimed } = around;
        let reasons = reasons(&who.pod, &sets, &record, &pods, &claims, &record.members());
        self.view_of(who, &sets, &record, pods, reasons, before, claimed)
    }

    /// A step or hook says what it did.
    pub(super) async fn report(&self, token: &str, report: Report) -> Result<(), Fault> {
        let who = self.bearer(token).await?;
        let (namespace, set) = (who.namespace.as_str(), who.set()?);
        let (Sets { cluster, .. }, record) = self.store().cluster_of(namespace, set).await?;
        let record = record.ok_or_else(|| no_record(&cluster))?;
        let members = record.members();
        if members.get(&who.pod).is_some_and(|m| m.pod_uid != who.uid) {
            return Err(Fault::Credential(format!("pod {} has been replaced", who.pod)));
        }
        // The entry is the registration's; a report only adds to one.
        if members.contains_key(&who.pod) {
            let mut patch = json!({
                "decision": events::bounded(&report.reason, events::REASON),
                "message": events::bounded(&report.message, events::MESSAGE),
            });
            if report.is_of_a_start() {
                patch["lingering"] = Value::Null;
            }
            if report.bootstrapped {
                patch["bootstrapped"] = json!(true);
                patch["generation"] = json!(record.spec.plan.generation);
                patch["was"] = Value::Null;
            }
            if let Some(node_id) = report.node_id {
                patch["nodeId"] = json!(node_id);
            }
            if let Some(server) = &report.server {
                patch["server"] = json!(server);
            }
            let written = self.write(namespace, &cluster, &who.pod, patch).await?;
            self.tidy_later(namespace, written);
        }
        info!(
            namespace, set, pod = who.pod, reason = report.reason, severity = ?report.severity,
            message = report.message, "Reported"
        );
        let (client, namespace, set) =
            (self.store().client().clone(), namespace.to_owned(), set.to_owned());
        tokio::spawn(
            async move { events::publish(client, &namespace, &set, &who.pod, report).await },
        );
        Ok(())
    }

    /// Whose token it is: a hook's, or a step's.
    pub(super) async fn bearer(&self, token: &str) -> Result<Who, Fault> {
        match self.hook(token) {
            Ok(who) => Ok(who),
            Err(_) => self.reviewer.review(token).await,
        }
    }

    fn hook(&self, token: &str) -> Result<Who, Fault> {
        let who = self.hooks.borrow().verify(token);
        who.ok_or_else(|| Fault::Credential("the token is not one of the registry's".to_owned()))
    }

    async fn write(
        &self,
        namespace: &str,
        cluster: &str,
        pod: &str,
        entry: Value,
    ) -> Result<ClusterRecord, Fault> {
        let patch = Patch::Merge(json!({"status": {"members": {pod: entry}}}));
        let api = self.store().records(namespace);
        match api.patch_status(cluster, &PatchParams::default(), &patch).await {
            Ok(record) => Ok(record),
            Err(error) if is_not_found(&error) => Err(Fault::Unavailable(GONE.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    fn tidy_later(&self, namespace: &str, record: ClusterRecord) {
        if !record.is_tidy() {
            let (store, namespace) = (self.store().clone(), namespace.to_owned());
            tokio::spawn(async move { store.tidy(&namespace, record).await });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the view")]
    fn view_of(
        &self,
        who: &Who,
        sets: &Sets,
        record: &ClusterRecord,
        pods: BTreeMap<String, PodSeen>,
        past: Vec<String>,
        before: Option<Member>,
        claims: Option<BTreeSet<String>>,
    ) -> View {
        let (members, earlier): (BTreeMap<_, _>, BTreeMap<_, _>) = record
            .members()
            .into_iter()
            .partition(|(name, m)| pods.get(name).is_some_and(|p| p.uid == m.pod_uid));
        let status = record.status.as_ref();
        let plan = &record.spec.plan;
        let listed = sets.seen();
        let predecessor_ended = has_ended(before.as_ref(), &who.uid, &self.ended);
        let ended = earlier.iter().filter_map(|(name, member): (&String, &Member)| {
            Some((name.clone(), self.ended.at(&member.pod_uid)?))
        });
        let ended = ended.collect();
        View {
            ended,
            predecessor_ended,
            namespace: who.namespace.clone(),
            name: sets.cluster.clone(),
            pod: who.pod.clone(),
            ordinal: plan.number(&sets.cluster, &who.pod).unwrap_or(Ordinal::BEYOND),
            replicas: listed.iter().fold(0, |sum, set| set.replicas.saturating_add(sum)),
            parallel: listed.iter().all(|set| set.parallel),
            listed,
            past,
            plan: plan.clone(),
            restored: record.spec.restored,
            before,
            members,
            pods,
            earlier,
            claims,
            successions: status.map(|s| s.successions.clone()).unwrap_or_default(),
            heirs: sets.heirs(),
            forgotten: status.map(|s| s.forgotten.clone()).unwrap_or_default(),
            hook_token: self.hooks.borrow().token(who),
            secret: self.hooks.borrow().replication_secret(
                &who.namespace,
                &sets.cluster,
                &plan.salt,
            ),
        }
    }
}

fn reasons(
    pod: &str,
    sets: &Sets,
    record: &ClusterRecord,
    pods: &BTreeMap<String, PodSeen>,
    claims: &[Claim],
    members: &BTreeMap<String, Member>,
) -> Vec<String> {
    past(&Facts {
        cluster: &sets.cluster,
        pod,
        plan: &record.spec.plan,
        recorded: made(record.metadata.creation_timestamp.as_ref()),
        restored: record.spec.restored,
        sets: &sets.facts(),
        claims,
        pods,
        members,
    })
}

/// The asking pod has to be a member that opted in.
fn check_member(pod: &Pod, set: &str) -> Result<(), Fault> {
    let metadata = serde_json::to_value(&pod.metadata).unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let (owner, _) = admission::member(&metadata)
        .map_err(|skip| Fault::Refused(format!("pod {name} is no member: {}", skip.sentence())))?;
    if owner != set || metadata["labels"][names::CLUSTER] != "enabled" {
        return Err(Fault::Refused(format!(
            "pod {name} has no label {}: enabled: it is not a member",
            names::CLUSTER
        )));
    }
    Ok(())
}

fn wanted(sets: &Sets) -> Result<Wanted, Fault> {
    let wanted = Wanted::of(sets).ok_or_else(|| {
        Fault::Refused("the StatefulSet has no replicas: its shape is not known".to_owned())
    })?;
    wanted.map_err(|error| Fault::Refused(error.to_string()))
}

fn incomplete(cluster: &str, plan: &Plan) -> Fault {
    let there: Vec<_> = plan.sets.iter().map(|part| part.name.as_str()).collect();
    Fault::Unavailable(format!(
        "the group {cluster} is to begin with {} pods, and {} of them belong to StatefulSets that are \
         not there yet (there: {}): apply these, or change mooring.dev/shards or \
         mooring.dev/replicas-per-shard of all",
        plan.pods(),
        plan.vacant(),
        there.join(", "),
    ))
}

fn no_record(set: &str) -> Fault {
    Fault::Unavailable(format!("there is no ClusterRecord {set} yet: register first"))
}

const GONE: &str = "the record was deleted meanwhile";

/// Whether the pod before this one was seen to end. Once this pod has registered its own entry is
/// the one before, and hides who was there: a step that was refused because a pod deleted by force
/// still runs would be let in when it is tried again. Then nothing is known.
fn has_ended(before: Option<&Member>, own: &str, ended: &Ended) -> bool {
    before.is_some_and(|b| b.pod_uid != own && ended.contains(&b.pod_uid))
}

#[cfg(test)]
mod tests;
