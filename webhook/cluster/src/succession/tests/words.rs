//! What a server says.

use super::*;

#[test]
fn a_server_is_read_by_its_own_words() {
    let nodes = file(3).to_string();
    let cluster = "cluster_state:fail\r\ncluster_current_epoch:7\r\n";
    let time = Reply::Array(Some(vec![
        Reply::Bulk(Some(b"1790000000".to_vec())),
        Reply::Bulk(Some(b"5".to_vec())),
    ]));
    let read = |link: &str, version: &str| {
        let info = format!(
            "{version}\r\nuptime_in_seconds:9\r\nrole:slave\r\n{link}\r\nslave_repl_offset:12\r\n"
        );
        Own::read(&nodes, cluster, &info, &Reply::Integer(1), &time).unwrap()
    };
    let down =
        |since: &str| format!("master_link_status:down\r\nmaster_link_down_since_seconds:{since}");
    let never = read(&down("-1"), "redis_version:7.0.15");
    assert_eq!((never.master, never.offset, never.current_epoch), (Some(id(0)), 12, 7));
    assert!(!never.was_linked && never.keys && !never.votes_anew);
    assert!(!read(&down("1790000000"), "").was_linked, "as 5.0 and 6.0 say never");
    assert!(read(&down("4"), "").was_linked);
    assert!(read("master_link_status:up", "").was_linked);
    assert!(read(&(down("-1") + "\r\nmaster_sync_in_progress:1"), "").was_linked);
    assert!(read("", "").was_linked, "what is not said is not made up");
    for (version, anew) in [("8.0.1", false), ("8.1.0", true), ("9.0.0", true), ("7.2.9", false)] {
        assert_eq!(read("", &format!("valkey_version:{version}")).votes_anew, anew, "{version}");
    }
    assert!(Own::read(&nodes, "", "", &Reply::Integer(1), &time).is_err());
    // Seen on Valkey 8.1 on a busy machine: asked before its first cron, a replica calls itself a master.
    let early = "uptime_in_seconds:0\r\nrole:master\r\nmaster_repl_offset:0\r\n";
    let early = Own::read(&nodes, cluster, early, &Reply::Integer(1), &time).unwrap();
    assert_eq!((early.master, early.was_linked), (Some(id(0)), false));
}
