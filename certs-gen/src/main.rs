//! `certs-gen`: an authority and a serving certificate as files, for people who manage
//! certificates by hand.
//!
//! Each file is written beside its place and renamed into it: nobody ever reads half of one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use certs_gen::Authority;
use clap::Parser;

/// Makes ca.crt, ca.key, tls.crt and tls.key in a directory.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The directory; ca.crt and ca.key that are there are used again.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// DNS names and IP addresses that the certificate is for.
    #[arg(long = "name", default_values_t = [
        "mooring.mooring-system.svc".to_owned(),
        "mooring.mooring-system.svc.cluster.local".to_owned(),
    ])]
    names: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let now = SystemTime::now();
    let cert = args.out.join("ca.crt");
    let key = args.out.join("ca.key");
    let authority = if cert.exists() && key.exists() {
        Authority::from_pem(&read(&cert)?, &read(&key)?)?
    } else {
        let authority = Authority::generate(now)?;
        write(&key, &authority.key_pem(), 0o600)?;
        write(&cert, authority.cert_pem(), 0o644)?;
        authority
    };
    let leaf = authority.issue(&args.names, now)?;
    write(&args.out.join("tls.key"), &leaf.key_pem, 0o600)?;
    write(&args.out.join("tls.crt"), &leaf.cert_pem, 0o644)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let beside = path.with_extension("tmp");
    let context = || format!("cannot write {}", path.display());
    // One that a run left behind half way may have another mode.
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    file.sync_all().with_context(context)?;
    fs::rename(&beside, path).with_context(context)
}
