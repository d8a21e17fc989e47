//! What to do about the members of a shard, by what all of them say.
//!
//! Guarantees: the same facts give the same commands, and once these are carried out none; no
//! command breaks a link that is up. The user is never made here, only extended: whoever has none
//! has not been looked at by its own hook yet.

use std::collections::{BTreeMap, BTreeSet};

use super::{Command, Copying, Hash, ReplicationSecret, Source, Stand, accept};
use crate::id::NodeId;

/// A member of the cluster.
#[derive(Clone, Debug)]
pub struct Party {
    /// Who it is.
    pub id: NodeId,
    /// The master of its shard: itself, if it is one.
    pub shard: NodeId,
    /// Whether it can be asked, and what it says.
    pub presence: Presence,
    /// How many keys it holds; 0 if it does not say.
    pub keys: u64,
}

/// Whether a member can be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Presence {
    /// A majority says that it is gone.
    Gone,
    /// It says how it stands.
    Says(Stand),
    /// It is not known to be gone, and does not say.
    Silent,
}

/// Commands for one member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Action {
    /// Whose.
    pub id: NodeId,
    /// What.
    pub commands: Vec<Command>,
}

/// What to tell whom next. Ask again afterwards: there may be more.
pub fn plan(parties: &[Party], secret: &ReplicationSecret, source: Source) -> Vec<Action> {
    let mut shards: BTreeMap<NodeId, Vec<&Party>> = BTreeMap::new();
    for party in parties {
        shards.entry(party.shard).or_default().push(party);
    }
    shards.into_values().flat_map(|shard| Shard(shard).plan(secret, source)).collect()
}

struct Shard<'a>(Vec<&'a Party>);

// === impl Shard ===

impl Shard<'_> {
    fn plan(&self, secret: &ReplicationSecret, source: Source) -> Vec<Action> {
        let released = self.release();
        if !released.is_empty() {
            return released;
        }
        let ours: Vec<_> = self.0.iter().filter_map(|p| Some((p.id, p.copying()?))).collect();
        let silent = self.0.iter().any(|p| p.presence == Presence::Silent);
        let gone = self.0.iter().any(|p| p.presence == Presence::Gone);
        let hands_off = self.0.len() > ours.len() + self.0.iter().filter(|p| p.is_away()).count();
        if hands_off {
            return Vec::new();
        }

        // Whatever one of them shows the others have to take; and the new one before it is shown.
        let mut wanted: BTreeSet<Hash> =
            ours.iter().filter_map(|(_, c)| Some(c.shows.as_ref()?.hash())).collect();
        if source == Source::Registry {
            wanted.insert(secret.hash());
        }
        let extended: Vec<Action> = ours
            .iter()
            .filter(|(_, copying)| !copying.accepts.is_empty())
            .filter_map(|(id, c)| Some(Action { id: *id, commands: vec![accept(c, &wanted)?] }))
            .collect();
        if !extended.is_empty() || silent {
            return extended;
        }

        let all_take = |secret: &ReplicationSecret| {
            let hash = secret.hash();
            ours.iter().all(|(_, c)| c.accepts.contains(&hash))
        };
        let others = ours.iter().filter_map(|(_, c)| c.shows.as_ref());
        let Some(shown) = std::iter::once(secret).chain(others).find(|s| all_take(s)) else {
            return Vec::new();
        };
        let newer = source == Source::Registry && shown == secret;
        let shows: Vec<Action> = ours
            .iter()
            .filter(|(_, c)| c.shows.is_none() || (newer && c.shows.as_ref() != Some(shown)))
            .map(|(id, _)| Action { id: *id, commands: Command::show(Some(shown)) })
            .collect();
        // Whoever is gone may come back with what it had.
        if !shows.is_empty() || !newer || gone {
            return shows;
        }
        let only = shown.hash();
        let older = ours.iter().filter(|(_, c)| c.accepts.iter().any(|hash| *hash != only));
        older
            .map(|(id, _)| Action { id: *id, commands: vec![Command::accept_only(&only)] })
            .collect()
    }

    /// A replica whose master lives, has its data and takes no secret (its pod came back without
    /// the step, or with a configuration of its own) would never be linked to it again. A master
    /// that came back empty takes writes after 2 s: a few keys are no sign that it has its data.
    fn release(&self) -> Vec<Action> {
        let Some(master) = self.0.iter().find(|p| p.id == p.shard) else { return Vec::new() };
        let refuses = match &master.presence {
            Presence::Says(Stand::HandsOff(_)) => true,
            Presence::Says(Stand::Ours(c)) => c.accepts.is_empty(),
            Presence::Gone | Presence::Silent => false,
        };
        let has_the_data = |p: &&&Party| master.keys.saturating_mul(2) >= p.keys;
        let replicas = self.0.iter().filter(|p| refuses && p.id != p.shard).filter(has_the_data);
        let shows = replicas.filter(|p| p.copying().is_some_and(|c| c.shows.is_some()));
        shows.map(|p| Action { id: p.id, commands: Command::show(None) }).collect()
    }
}

// === impl Party ===

impl Party {
    fn copying(&self) -> Option<&Copying> {
        match &self.presence {
            Presence::Says(Stand::Ours(copying)) => Some(copying),
            _ => None,
        }
    }

    fn is_away(&self) -> bool {
        matches!(self.presence, Presence::Gone | Presence::Silent)
    }
}
