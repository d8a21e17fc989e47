use std::sync::{Arc, Mutex};

use super::*;
use crate::fake;

fn id(digit: char) -> NodeId {
    digit.to_string().repeat(40).parse().unwrap()
}

/// A replica `b` of `a` at 10.0.0.1 that dials another address; notes what it is told.
fn replica(named: char) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&said);
    let at = fake::server(move |command| match command {
        "CLUSTER NODES" => fake::bulk(&format!(
            "{} 10.0.0.1:6379@16379 master - 0 0 1 connected 0-16383\n\
             {} 10.0.0.2:6379@16379 myself,slave {} 0 0 1 connected\n",
            id('a'),
            id(named),
            id('a')
        )),
        "CLUSTER INFO" => fake::bulk("cluster_state:ok\r\n"),
        "INFO replication" => fake::bulk(
            "role:slave\r\nmaster_host:10.0.0.9\r\nmaster_port:6379\r\n\
             master_link_status:down\r\n",
        ),
        other => {
            notes.lock().unwrap().push(other.to_owned());
            "+OK\r\n".to_owned()
        }
    });
    (at, said)
}

#[test]
fn a_replica_that_dials_the_old_address_is_told_to_look_again() {
    let (at, said) = replica('b');
    assert_eq!(call(at, id('b'), &[]), Ok(()));
    assert_eq!(*said.lock().unwrap(), [format!("CLUSTER REPLICATE {}", id('a'))]);
}

#[test]
fn nobody_is_told_anything_who_is_somebody_else() {
    let (at, said) = replica('c');
    assert!(call(at, id('b'), &[]).is_err());
    assert!(said.lock().unwrap().is_empty());
}
