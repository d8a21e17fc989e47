//! All probes together: what they saw, and reading everything back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use tokio::time::{sleep, timeout};

use super::pool::Pool;
use super::writer::Probe;
use crate::clock;
use crate::slots::{Tags, probe_slots};
use crate::timeline::{Ack, At, Gaps, Timeline};
use crate::wire::{Slot, Status, Sweep, Verified};

/// How often the Service's name is asked while something fails, and else.
const RESOLVE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
const CHUNK: usize = 250;
const ORDINARY: Duration = Duration::from_millis(50);
const VERIFY_ATTEMPTS: u32 = 5;

/// What the client is told when it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the Service, or an address.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// How many slots to write.
    pub slots: u16,
    /// The password, if the servers ask for one.
    pub password: Option<String>,
}

/// The probes, and the ordinary client beside them.
pub struct Judge {
    options: Options,
    tags: Tags,
    pool: Rc<Pool>,
    probes: Vec<Rc<Probe>>,
    ordinary: RefCell<Timeline>,
    paused: Rc<Cell<bool>>,
}

// === impl Judge ===

impl Judge {
    /// Starts all probes; must be called inside a `LocalSet`.
    pub fn start(options: Options) -> Rc<Self> {
        let tags = Tags::new();
        let probes = probe_slots(options.slots)
            .into_iter()
            .map(|slot| {
                let tag = tags.of(slot).to_owned();
                Rc::new(Probe { slot, tag, timeline: RefCell::default() })
            })
            .collect();
        let judge = Rc::new(Self {
            pool: Pool::new(options.password.clone()),
            options,
            tags,
            probes,
            ordinary: RefCell::default(),
            paused: Rc::default(),
        });
        tokio::task::spawn_local(Rc::clone(&judge).resolve());
        for probe in &judge.probes {
            let (pool, paused) = (Rc::clone(&judge.pool), Rc::clone(&judge.paused));
            tokio::task::spawn_local(Rc::clone(probe).run(pool, paused));
        }
        tokio::task::spawn_local(Rc::clone(&judge).ordinary());
        judge
    }

    /// Stops or resumes all writing.
    pub fn pause(&self, paused: bool) {
        self.paused.set(paused);
    }

    /// What the probes saw since `since`.
    pub fn status(&self, since: At) -> Status {
        let now = clock::now();
        let timelines: Vec<_> = self.probes.iter().map(|p| p.timeline.borrow()).collect();
        let gaps = Gaps::of(timelines.iter().map(|t| &**t), since, now);
        let slots: Vec<Slot> = self
            .probes
            .iter()
            .zip(&timelines)
            .map(|(probe, timeline)| Slot {
                slot: probe.slot,
                acknowledged: timeline.acks().len() as u64,
                failed: timeline.failures() as u64,
                gaps: Gaps::of([&**timeline], since, now),
            })
            .collect();
        Status {
            now,
            since,
            acknowledged: slots.iter().map(|s| s.acknowledged).sum(),
            failed: slots.iter().map(|s| s.failed).sum(),
            unwritten: slots.iter().filter(|s| s.acknowledged == 0).count() as u64,
            calm: gaps.calm(since, now),
            gaps,
            ordinary: Gaps::of([&*self.ordinary.borrow()], since, now),
            slots,
            connected: self.pool.connected().iter().map(|n| n.address.to_string()).collect(),
            last_error: self.pool.last_error(),
        }
    }

    /// Waits until all slots have taken all writes for `calm`, or `limit` has passed.
    pub async fn wait(&self, since: At, calm: Duration, limit: Duration) -> Status {
        let calm = u64::try_from(calm.as_micros()).unwrap_or(u64::MAX);
        let recovered = async {
            while !self.status(since).recovered(calm) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let _ = timeout(limit, recovered).await;
        self.status(since)
    }

    /// Reads every acknowledged write back, by the redis crate's cluster client, connected anew.
    pub async fn verify(&self) -> Result<Verified> {
        let mut keys: Vec<(String, u64)> = Vec::new();
        let mut chunks: Vec<Vec<(String, u64)>> = Vec::new();
        for probe in &self.probes {
            let acks: Vec<Ack> = probe.timeline.borrow().acks().to_vec();
            let pairs: Vec<_> = acks.iter().map(|ack| (probe.key(ack.n), ack.n)).collect();
            chunks.extend(pairs.chunks(CHUNK).map(<[_]>::to_vec));
        }
        for ack in self.ordinary.borrow().acks() {
            keys.push((ordinary_key(ack.n), ack.n));
        }
        chunks.extend(keys.chunks(CHUNK).map(<[_]>::to_vec));
        let connection = self.cluster().await.context("cannot connect to read back")?;
        let read = stream::iter(chunks)
            .map(|chunk| read_back(connection.clone(), chunk))
            .buffer_unordered(8)
            .try_collect::<Vec<_>>()
            .await?;
        let mut all = Verified::default();
        for (count, missing) in read {
            all.acknowledged += count;
            all.lost += missing.len() as u64;
            all.examples.extend(missing);
        }
        all.examples.truncate(10);
        Ok(all)
    }

    /// Writes one key in each of the 16384 slots.
    pub async fn sweep(&self) -> Result<Sweep> {
        let connection = self.cluster().await.context("cannot connect to write")?;
        let begin = clock::now();
        let written = stream::iter(self.tags.all())
            .map(|(_, tag)| {
                let mut connection = connection.clone();
                async move {
                    let mut set = redis::cmd("SET");
                    set.arg(format!("{{{tag}}}:all")).arg(begin.0);
                    set.query_async::<()>(&mut connection).await.is_ok()
                }
            })
            .buffer_unordered(64)
            .filter(|ok| futures::future::ready(*ok))
            .count()
            .await as u64;
        let failed = u64::from(crate::slots::SLOTS) - written;
        Ok(Sweep { written, failed, took: clock::now().0 - begin.0 })
    }

    async fn resolve(self: Rc<Self>) {
        loop {
            let name = (self.options.service.as_str(), self.options.port);
            if !self.paused.get()
                && let Ok(addresses) = tokio::net::lookup_host(name).await
            {
                self.pool.name(addresses.collect::<BTreeSet<SocketAddr>>());
            }
            let well = self.status_is_well();
            sleep(if well { RESOLVE.1 } else { RESOLVE.0 }).await;
        }
    }

    fn status_is_well(&self) -> bool {
        let now = clock::now();
        let recent = At(now.0.saturating_sub(300_000));
        !self.pool.connected().is_empty()
            && self.probes.iter().all(|probe| {
                let timeline = probe.timeline.borrow();
                timeline.acks().last().is_some_and(|ack| ack.at > recent)
            })
    }

    /// What an application sees that uses the redis crate as its documentation says, and connects
    /// anew by the Service's name when that fails.
    async fn ordinary(self: Rc<Self>) {
        let mut connection: Option<ClusterConnection> = None;
        for n in 1u64.. {
            sleep(ORDINARY).await;
            if self.paused.get() {
                continue;
            }
            let result = async {
                let mut current = match connection.take() {
                    Some(connection) => connection,
                    None => self.cluster().await?,
                };
                let mut set = redis::cmd("SET");
                set.arg(ordinary_key(n)).arg(n);
                set.query_async::<()>(&mut current).await?;
                anyhow::Ok(current)
            };
            match timeout(Duration::from_secs(1), result).await {
                Ok(Ok(current)) => {
                    connection = Some(current);
                    self.ordinary.borrow_mut().acknowledge(n, clock::now());
                }
                _ => {
                    self.ordinary.borrow_mut().fail(clock::now());
                    sleep(Duration::from_millis(400)).await;
                }
            }
        }
    }

    async fn cluster(&self) -> Result<ClusterConnection> {
        let name = (self.options.service.as_str(), self.options.port);
        let seeds: Vec<_> = tokio::net::lookup_host(name)
            .await
            .with_context(|| format!("cannot resolve {}", self.options.service))?
            .map(|address| (address.ip().to_string(), address.port()))
            .collect();
        if seeds.is_empty() {
            bail!("{} has no addresses", self.options.service);
        }
        let mut builder = ClusterClient::builder(seeds)
            .retries(3)
            .connection_timeout(Duration::from_millis(500))
            .response_timeout(Duration::from_secs(1));
        if let Some(password) = &self.options.password {
            builder = builder.password(password);
        }
        Ok(builder.build()?.get_async_connection().await?)
    }
}

fn ordinary_key(n: u64) -> String {
    format!("{{ordinary}}:{n}")
}

/// How many of these keys there are, and which are gone. An error is no loss: it is tried again.
async fn read_back(
    mut connection: ClusterConnection,
    chunk: Vec<(String, u64)>,
) -> Result<(u64, Vec<String>)> {
    let mut get = redis::cmd("MGET");
    for (key, _) in &chunk {
        get.arg(key);
    }
    let mut attempt = 0;
    let values: Vec<Option<u64>> = loop {
        attempt += 1;
        match get.query_async(&mut connection).await {
            Ok(values) => break values,
            Err(error) if attempt == VERIFY_ATTEMPTS => {
                return Err(error).context("cannot read back");
            }
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    };
    let count = chunk.len() as u64;
    let missing = chunk
        .into_iter()
        .enumerate()
        .filter(|(i, (_, n))| values.get(*i).copied().flatten() != Some(*n))
        .map(|(_, (key, _))| key)
        .collect();
    Ok((count, missing))
}
