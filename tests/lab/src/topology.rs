//! Who is who in a cluster, as `CLUSTER NODES` says.

use std::collections::{BTreeMap, BTreeSet};

/// Ids and slots of a cluster, without roles: a hand-over changes those and nothing else.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Topology {
    /// Slots of each shard, and the ids of its members.
    pub shards: BTreeMap<String, BTreeSet<String>>,
}

impl Topology {
    /// Reads the answer of `CLUSTER NODES`.
    pub fn parse(nodes: &str) -> Self {
        let lines: Vec<Vec<&str>> =
            nodes.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
        let mut shards = BTreeMap::new();
        for line in &lines {
            let [id, _, _, _, _, _, _, _, slots @ ..] = line.as_slice() else { continue };
            if slots.is_empty() {
                continue;
            }
            let replicas = lines.iter().filter(|other| other.get(3) == Some(id));
            let members: BTreeSet<String> = replicas
                .filter_map(|other| other.first())
                .chain([id])
                .map(|id| (*id).to_owned())
                .collect();
            shards.insert(slots.join(" "), members);
        }
        Self { shards }
    }

    /// All ids.
    pub fn ids(&self) -> BTreeSet<&str> {
        self.shards.values().flatten().map(String::as_str).collect()
    }

    /// How many ids of `self` are not in `after`.
    pub fn ids_gone(&self, after: &Self) -> usize {
        self.ids().difference(&after.ids()).count()
    }

    /// How many shards of `self` have other slots or members in `after`.
    pub fn shards_changed(&self, after: &Self) -> usize {
        self.shards.iter().filter(|(slots, ids)| after.shards.get(*slots) != Some(*ids)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
a 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-5460
b 10.0.0.2:6379@16379,host master - 0 0 2 connected 5461-10922
r 10.0.0.3:6379@16379 slave a 0 0 1 connected
";

    #[test]
    fn roles_do_not_matter_members_do() {
        let before = Topology::parse(BEFORE);
        assert_eq!(before.ids(), BTreeSet::from(["a", "b", "r"]));
        let handed_over = "\
a 10.0.1.1:6379@16379 slave r 0 0 7 connected
r 10.0.1.3:6379@16379 myself,master - 0 0 7 connected 0-5460
b 10.0.1.2:6379@16379 master - 0 0 2 connected 5461-10922
";
        let after = Topology::parse(handed_over);
        assert_eq!((before.ids_gone(&after), before.shards_changed(&after)), (0, 0));
        let worse = Topology::parse("c :0 master - 0 0 1 connected 0-5460\n");
        assert_eq!((before.ids_gone(&worse), before.shards_changed(&worse)), (3, 2));
    }
}
