//! Sets the stage: builds what is needed, starts the test Kubernetes, installs Mooring as a user does.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::ground::{Engine, Ground};
use crate::jobs::{self, Job};
use crate::manifests;

/// Says what happens and how long after the start.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    start: Instant,
}

/// Mooring's namespace and Deployment.
pub const SYSTEM: &str = "mooring-system";
/// The Deployment.
pub const DEPLOYMENT: &str = "mooring";

// === impl Teller ===

impl Teller {
    /// Begins to count.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Seconds since then.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// One line.
    pub fn say(&self, text: &str) {
        let seconds = self.start.elapsed().as_secs();
        println!("[{:2}:{:02}] {text}", seconds / 60, seconds % 60);
    }
}

impl Default for Teller {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds everything side by side, brings it to the cluster, and installs Mooring.
pub fn set(ground: &mut Ground, engines: &[Engine], tell: &Teller) -> Result<()> {
    bring(ground, engines, tell)?;
    install(ground, tell)
}

/// The same without the installation.
pub fn bring(ground: &mut Ground, engines: &[Engine], tell: &Teller) -> Result<()> {
    let archives = build(ground, engines, tell)?;
    match ground.instance.clone() {
        Some(instance) => {
            ground.script("tests/kube/down", &[&instance])?;
            let up = ground.script("tests/kube/up", &[&instance])?;
            tell.say(up.trim().lines().last().unwrap_or("the test Kubernetes is up"));
            let archives: Vec<&str> = archives.iter().map(String::as_str).collect();
            ground.script("tests/kube/load", &[&[instance.as_str()], &archives[..]].concat())?;
            tell.say("images are loaded");
        }
        None => push(ground, &archives, tell)?,
    }
    Ok(())
}

/// The webhook's binary, which is the command line, too.
pub fn mooring() -> PathBuf {
    target().join(triple()).join("release").join("mooring")
}

/// Builds the test Kubernetes, the images and the binaries; the archives of the images.
fn build(ground: &mut Ground, engines: &[Engine], tell: &Teller) -> Result<Vec<String>> {
    let script = |path: &str, args: &[&str]| {
        let mut command = Command::new(ground.root.join(path));
        command.args(args);
        command
    };
    let shells = ["-p", "mooring", "-p", "mooring-lab", "--bin", "mooring", "--bin", "client"];
    let mut builds = vec![
        Job::new("webhook and client", cargo(ground, &[&["--release"], &shells[..]].concat())),
        Job::new("step", cargo(ground, &["--profile", "step", "-p", "mooring-step"])),
    ];
    if ground.instance.is_some() {
        let engines: Vec<&str> = engines.iter().map(|engine| engine.key()).collect();
        builds.push(Job::new("server images", script("tests/images/build", &engines)));
        builds.push(Job::new("test Kubernetes", script("tests/kube/build", &[])));
    }
    tell.say("builds what is not built yet: Mooring's binaries, server images, Kubernetes");
    let printed = jobs::run(builds, &target().join("lab-logs"))?;
    let mut archives: Vec<String> =
        printed.get(2).into_iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    let binary = |profile: &str, name: &str| {
        target().join(triple()).join(profile).join(name).to_string_lossy().into_owned()
    };
    let (mooring, step) = (binary("release", "mooring"), binary("step", "step"));
    let client = binary("release", "client");
    let own = ["mooring", "--mooring", &mooring, "--step", &step, "--tag", &ground.mooring];
    let file = format!("{client}=/client");
    let judge = ["scratch", "--file", &file, "--entrypoint", "/client", "--tag", &ground.client];
    for args in [&own[..], &judge[..]] {
        archives.extend(ground.script("tests/images/build", args)?.lines().map(str::to_owned));
    }
    ground.learn_servers()?;
    tell.say("everything is built");
    Ok(archives)
}

/// Static binaries: the images have nothing else in them. The step is built for size.
fn cargo(ground: &Ground, args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&ground.root).env("RUSTFLAGS", "-C target-feature=+crt-static");
    // What cargo set for this driver: build scripts look at it, and would build anew.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command.args(["build", "--target", &triple()]).args(args);
    command
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", env::consts::ARCH)
}

fn target() -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.into(), PathBuf::from)
}

/// Pushes Mooring's and the client's images to the user's registry.
fn push(ground: &Ground, archives: &[String], tell: &Teller) -> Result<()> {
    for (archive, name) in archives.iter().zip([&ground.mooring, &ground.client]) {
        ground.script("tests/images/image", &["push", archive, name])?;
        tell.say(&format!("{name} is pushed"));
    }
    Ok(())
}

/// `kubectl apply -k`, and waits for it to serve.
pub fn install(ground: &Ground, tell: &Teller) -> Result<()> {
    let base = ground.root.join("manifests/base");
    if !base.is_dir() {
        bail!("{} is not there", base.display());
    }
    let applied = if ground.instance.is_some() { base } else { overlay(ground)? };
    ground
        .kubectl
        .run(&["apply", "-k", &applied.to_string_lossy()])
        .context("installing Mooring")?;
    wait_for_mooring(ground)?;
    tell.say("Mooring is installed (kubectl apply -k manifests/base)");
    Ok(())
}

/// Waits until Mooring serves.
pub fn wait_for_mooring(ground: &Ground) -> Result<()> {
    let deployment = format!("deployment/{DEPLOYMENT}");
    let args = ["rollout", "status", "-n", SYSTEM, &deployment, "--timeout=120s"];
    if let Err(error) = ground.kubectl.run(&args) {
        let logs = ["logs", "-n", SYSTEM, &deployment, "--tail=20"];
        let said = ground.kubectl.run(&logs).unwrap_or_else(|error| error.to_string());
        bail!("{error:#}\nits log ends with:\n{said}");
    }
    Ok(())
}

/// The base with the user's image in the place of the published one.
fn overlay(ground: &Ground) -> Result<PathBuf> {
    let dir = ground.root.join("out/overlay");
    fs::create_dir_all(&dir).context("cannot make out/overlay")?;
    let (repository, tag) = ground.mooring.rsplit_once(':').context("the image has no tag")?;
    let text = manifests::fill(
        include_str!("../manifests/overlay.yaml"),
        &[("repository", repository), ("tag", tag)],
    )?;
    fs::write(dir.join("kustomization.yaml"), text)?;
    Ok(dir)
}
