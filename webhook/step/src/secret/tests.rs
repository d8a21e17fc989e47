//! The hook's part, with servers that answer as a test says.

use std::sync::{Arc, Mutex};

use super::*;
use crate::fake;

/// A server that remembers what it was told.
#[derive(Clone)]
struct Told(Arc<Mutex<Vec<String>>>);

// === impl Told ===

impl Told {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::new())))
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// As a server of 7.0 with nothing set answers, once it has been told what it was told.
    fn answer(&self, command: &str, nodes: &str, role: &str, keys: usize) -> String {
        let pair =
            |name: &str, value: &str| format!("*2\r\n{}{}", fake::bulk(name), fake::bulk(value));
        let last = |prefix: &str| {
            let all = self.all();
            let found = all.iter().rev().find_map(|c| c.strip_prefix(prefix));
            found.unwrap_or_default().trim().to_owned()
        };
        match command {
            "PING" => "+PONG\r\n".to_owned(),
            "INFO server" => fake::bulk("redis_version:7.0.15\r\n"),
            "INFO replication" => fake::bulk(role),
            "INFO keyspace" if keys == 0 => fake::bulk("# Keyspace\r\n"),
            "INFO keyspace" => fake::bulk(&format!("db0:keys={keys},expires=0,avg_ttl=0\r\n")),
            "CLUSTER NODES" => fake::bulk(nodes),
            "CLUSTER MYID" => {
                let own = nodes.lines().find(|l| l.contains("myself")).unwrap_or_default();
                fake::bulk(own.split(' ').next().unwrap_or_default())
            }
            "CONFIG GET aclfile" => pair("aclfile", ""),
            "CONFIG GET masteruser" => pair("masteruser", &last("CONFIG SET masteruser")),
            "CONFIG GET masterauth" => pair("masterauth", &last("CONFIG SET masterauth")),
            "ACL GETUSER mooring" => {
                let hash = last("ACL SETUSER mooring on #");
                if hash.is_empty() {
                    return "*-1\r\n".to_owned();
                }
                let hash = hash.split(' ').next().unwrap_or_default().to_owned();
                let list = |item: &str| format!("*1\r\n{}", fake::bulk(item));
                [
                    "*6\r\n".to_owned(),
                    fake::bulk("flags") + &list("on"),
                    fake::bulk("passwords") + &list(&hash),
                    fake::bulk("commands") + &fake::bulk("-@all +psync +replconf +ping"),
                ]
                .concat()
            }
            other => {
                self.0.lock().unwrap().push(other.to_owned());
                "+OK\r\n".to_owned()
            }
        }
    }
}

fn secret() -> ReplicationSecret {
    "a".repeat(64).parse().unwrap()
}

fn id(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// The nodes of a shard of two and of two more masters, as `me` sees them; the places of the first
/// two are set once they are known.
type Places = Arc<Mutex<[Option<SocketAddr>; 2]>>;

fn nodes(me: char, owner: char, places: &Places) -> String {
    let places = places.lock().unwrap();
    let line = |digit: char, at: Option<SocketAddr>| {
        let own = if digit == me { "myself," } else { "" };
        let at = at.map_or(":0".to_owned(), |at| at.to_string());
        let rest = if digit == owner {
            "master - 0 0 1 connected 0-5460".to_owned()
        } else {
            format!("slave {} 0 0 1 connected", id(owner))
        };
        format!("{} {at}@1 {own}{rest}\n", id(digit))
    };
    let other =
        |digit: char, slots: &str| format!("{} :0@0 master - 0 0 2 connected {slots}\n", id(digit));
    [
        line('1', places[0]),
        line('2', places[1]),
        other('3', "5461-10922"),
        other('4', "10923-16383"),
    ]
    .concat()
}

/// Own server and one other, by what each says: role, keys, whether the own one is master.
fn pair(
    own: impl Fn(&Told, &str, &str) -> String + Clone + Send + 'static,
    other: impl Fn(&Told, &str, &str) -> String + Clone + Send + 'static,
) -> (Client, ServerConfig, [Told; 2]) {
    let places = Places::default();
    let told = [Told::new(), Told::new()];
    let start = |me: char, told: &Told, answer: Box<dyn CloneAnswer>| {
        let (told, places) = (told.clone(), Arc::clone(&places));
        fake::server(move |command| answer.call(&told, command, &nodes(me, '1', &places)))
    };
    let own = start('1', &told[0], Box::new(own));
    let other = start('2', &told[1], Box::new(other));
    *places.lock().unwrap() = [Some(own), Some(other)];
    let client = Client::connect(own, &[], Duration::from_secs(1)).unwrap();
    (client, fake::config(own), told)
}

trait CloneAnswer: Send {
    fn call(&self, told: &Told, command: &str, nodes: &str) -> String;
    fn again(&self) -> Box<dyn CloneAnswer>;
}

impl<F: Fn(&Told, &str, &str) -> String + Clone + Send + 'static> CloneAnswer for F {
    fn call(&self, told: &Told, command: &str, nodes: &str) -> String {
        self(told, command, nodes)
    }

    fn again(&self) -> Box<dyn CloneAnswer> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn CloneAnswer> {
    fn clone(&self) -> Self {
        self.as_ref().again()
    }
}

const MASTER: &str = "role:master\r\nmaster_repl_offset:0\r\n";
const REPLICA: &str = "role:slave\r\nmaster_link_status:down\r\nslave_repl_offset:9\r\n";

fn set_user() -> String {
    format!("ACL SETUSER mooring on #{} +psync +replconf +ping", hash())
}

fn hash() -> String {
    let command = accept(&Copying::default(), [&secret().hash()]);
    assert!(command.is_some());
    // As sha256sum has it.
    "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb".to_owned()
}

#[test]
fn a_replica_that_has_the_data_is_made_master_before_the_user_is_set() {
    let forced = Arc::new(Mutex::new(false));
    let own = {
        let forced = Arc::clone(&forced);
        move |told: &Told, command: &str, nodes: &str| {
            // Its replica was elected.
            let nodes = match *forced.lock().unwrap() {
                true => nodes
                    .replace(&format!("slave {}", id('1')), "master -")
                    .replace(
                        "myself,master - 0 0 1 connected 0-5460",
                        "myself,slave 2s 0 0 1 connected",
                    )
                    .replace("2s", &id('2')),
                false => nodes.to_owned(),
            };
            told.answer(command, &nodes, MASTER, 0)
        }
    };
    let other = move |told: &Told, command: &str, nodes: &str| {
        if command == "CLUSTER FAILOVER FORCE" {
            *forced.lock().unwrap() = true;
        }
        told.answer(command, nodes, REPLICA, 100)
    };
    let (mut server, config, told) = pair(own, other);
    let (look, report) = look(&mut server, &config, Instant::now() + Duration::from_secs(5));
    assert_eq!(look, Look::Open);
    let report = report.unwrap();
    assert_eq!(report.reason, "Promoted");
    assert_eq!(told[1].all(), ["CLUSTER FAILOVER FORCE"]);
    assert!(told[0].all().is_empty(), "{:?}", told[0].all());
}

#[test]
fn a_server_that_may_have_lost_its_data_is_not_copied() {
    let own = |told: &Told, command: &str, nodes: &str| told.answer(command, nodes, MASTER, 0);
    let other = |told: &Told, command: &str, nodes: &str| told.answer(command, nodes, REPLICA, 100);
    let (mut server, config, told) = pair(own, other);
    let began = Instant::now();
    let (look, report) = look(&mut server, &config, began + Duration::from_millis(500));
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!((look, report.unwrap().reason.as_str()), (Look::Shut, "NotPromoted"));
    let kept = Some(&secret());
    settle(&mut server, &config, kept, look, || Some(secret())).unwrap();
    assert!(told[0].all().is_empty(), "{:?}", told[0].all());
}

#[test]
fn without_the_registry_the_user_is_set_before_anybody_is_asked() {
    let own = |told: &Told, command: &str, nodes: &str| told.answer(command, nodes, MASTER, 7);
    let other = |told: &Told, command: &str, nodes: &str| told.answer(command, nodes, REPLICA, 7);
    let (mut server, config, told) = pair(own, other);
    let kept = Some(&secret());
    let mut before = Vec::new();
    settle(&mut server, &config, kept, Look::Open, || {
        before = told[0].all();
        None
    })
    .unwrap();
    assert_eq!(before, [set_user()]);
    // The other one's hook has not run: nobody shows it yet.
    assert_eq!((told[0].all(), told[1].all()), (vec![set_user()], vec![]));
}

#[test]
fn the_last_of_a_shard_completes_it_for_the_others() {
    let own = |told: &Told, command: &str, nodes: &str| told.answer(command, nodes, MASTER, 7);
    let (mut server, config, told) = pair(own, own);
    // As the other one's hook has left it.
    told[1].0.lock().unwrap().push(set_user());
    settle(&mut server, &config, None, Look::Open, || Some(secret())).unwrap();
    let show = |told: &Told| {
        let all = told.all();
        all.get(1..).map(|rest| rest.join("; "))
    };
    let shown = format!("CONFIG SET masteruser mooring; CONFIG SET masterauth {}", "a".repeat(64));
    assert_eq!((show(&told[0]), show(&told[1])), (Some(shown.clone()), Some(shown)));
    assert_eq!(told[0].all()[0], set_user());
}

#[test]
fn who_was_made_without_the_registry_learns_the_secret_from_the_others() {
    let own = |told: &Told, command: &str, nodes: &str| told.answer(command, nodes, MASTER, 7);
    let (mut server, config, told) = pair(own, own);
    let shown = [
        set_user(),
        "CONFIG SET masteruser mooring".to_owned(),
        format!("CONFIG SET masterauth {}", "a".repeat(64)),
    ];
    told[1].0.lock().unwrap().extend(shown.clone());
    settle(&mut server, &config, None, Look::Open, || None).unwrap();
    assert_eq!(told[0].all(), shown);
    assert_eq!(told[1].all(), shown);
}
