//! Connections to whatever nodes are known, made and remade in the background.
//!
//! Guarantees: [`Pool::connected`] names only nodes whose connection was good when last used; a node
//! that cannot be reached costs nobody a wait. Nodes come from the Service's name and from redirects,
//! and go when neither names them any more.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, IntoConnectionInfo, RedisConnectionInfo};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::clock;
use crate::timeline::At;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// Longer than a busy machine needs, shorter than any recovery.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// A server accepts connections about 2 s before it takes writes: this costs no time of a recovery.
const RECONNECT: Duration = Duration::from_millis(100);
/// A node that nobody names any more is given up after this long without a connection.
const GIVE_UP: u64 = 3_000_000;

/// All nodes that somebody has named.
pub(super) struct Pool {
    password: Option<String>,
    nodes: RefCell<BTreeMap<SocketAddr, Rc<Node>>>,
    named: RefCell<BTreeSet<SocketAddr>>,
    last_error: RefCell<String>,
}

/// One address and the connection to it, if there is one.
pub(super) struct Node {
    pub(super) address: SocketAddr,
    link: RefCell<Option<MultiplexedConnection>>,
    generation: Cell<u64>,
    broken: Notify,
}

/// A connection, and which of its node's connections it is.
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    generation: u64,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(password: Option<String>) -> Rc<Self> {
        Rc::new(Self {
            password,
            nodes: RefCell::default(),
            named: RefCell::default(),
            last_error: RefCell::default(),
        })
    }

    /// What the Service's name resolves to now.
    pub(super) fn name(self: &Rc<Self>, addresses: BTreeSet<SocketAddr>) {
        for address in &addresses {
            self.node(*address);
        }
        *self.named.borrow_mut() = addresses;
    }

    /// The node of an address; begins to connect to it if it is new.
    pub(super) fn node(self: &Rc<Self>, address: SocketAddr) -> Rc<Node> {
        if let Some(node) = self.nodes.borrow().get(&address) {
            return Rc::clone(node);
        }
        let node = Rc::new(Node {
            address,
            link: RefCell::default(),
            generation: Cell::default(),
            broken: Notify::new(),
        });
        self.nodes.borrow_mut().insert(address, Rc::clone(&node));
        tokio::task::spawn_local(Rc::clone(self).keep(Rc::clone(&node)));
        node
    }

    /// The nodes to which there is a connection.
    pub(super) fn connected(&self) -> Vec<Rc<Node>> {
        let nodes = self.nodes.borrow();
        nodes.values().filter(|node| node.link.borrow().is_some()).cloned().collect()
    }

    pub(super) fn last_error(&self) -> String {
        self.last_error.borrow().clone()
    }

    pub(super) fn note(&self, address: SocketAddr, error: &redis::RedisError) {
        *self.last_error.borrow_mut() = format!("{address}: {error}");
    }

    /// Connects, waits until the connection breaks, connects again.
    async fn keep(self: Rc<Self>, node: Rc<Node>) {
        let mut alone_since = clock::now();
        loop {
            match self.connect(node.address).await {
                Ok(connection) => {
                    node.generation.set(node.generation.get() + 1);
                    *node.link.borrow_mut() = Some(connection);
                    node.broken.notified().await;
                    *node.link.borrow_mut() = None;
                    alone_since = clock::now();
                }
                Err(error) => {
                    self.note(node.address, &error);
                    if self.forgotten(node.address, alone_since) {
                        self.nodes.borrow_mut().remove(&node.address);
                        return;
                    }
                    sleep(RECONNECT).await;
                }
            }
        }
    }

    async fn connect(&self, address: SocketAddr) -> redis::RedisResult<MultiplexedConnection> {
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = (address.ip().to_string(), address.port()).into_connection_info()?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let client = redis::Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    fn forgotten(&self, address: SocketAddr, alone_since: At) -> bool {
        let alone = clock::now().0.saturating_sub(alone_since.0);
        alone > GIVE_UP && !self.named.borrow().contains(&address)
    }
}

// === impl Node ===

impl Node {
    /// The connection, if it stands.
    pub(super) fn link(&self) -> Option<Link> {
        let connection = self.link.borrow().clone()?;
        Some(Link { connection, generation: self.generation.get() })
    }

    /// This connection failed: make another one, unless that has been done since.
    pub(super) fn give_up(&self, link: &Link) {
        if link.generation == self.generation.get() && self.link.borrow_mut().take().is_some() {
            self.broken.notify_one();
        }
    }
}
