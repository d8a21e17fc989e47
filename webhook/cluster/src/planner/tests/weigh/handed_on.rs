//! Slots that were handed on while a file still says otherwise.

use super::*;

impl World {
    /// This member has its disk, and the record names `cache-3` its heir.
    fn with_heir(mut self) -> Self {
        self.disk = disk(&file(0, 99));
        self.view.as_mut().unwrap().successions.insert(id(0), named(id(3), 9));
        self.member(3, full_disk(3));
        self
    }
}

/// The file of `cache-0` after it has stepped down for `cache-3` at this epoch.
fn stepped_down(epoch: u64) -> String {
    let mut conf = NodesConf::parse(file(0, 99).as_bytes()).unwrap();
    conf.step_down(id(3), epoch).unwrap();
    conf.to_string()
}

/// The former master is back before its heir was elected (seed 7001212 of the simulator): as the
/// replica of its own replica it would leave the slots without any owner.
#[test]
fn a_master_steps_down_once_its_heir_is_master() {
    let mut world = World::running().with_heir();
    let (actions, at) = world.run();
    assert_eq!(forced(&actions), Some((id(3), How::Vote)), "nobody else has done it");
    assert!(at >= Millis(10_000), "it is given time to do it by itself");
    let me = written(&actions).myself().cloned().unwrap();
    assert_eq!((me.master, reason(&actions)), (Some(id(3)), "SteppedDown"));

    let mut world = World::running().with_heir();
    world.promote(id(3));
    let (actions, at) = world.run();
    assert_eq!((forced(&actions), reason(&actions)), (None, "SteppedDown"));
    assert!(at < Millis(1_000), "{at:?}");
}

#[test]
fn an_heir_that_has_registered_and_does_not_answer_is_waited_for() {
    let mut world = World::stopped(&[3]).with_heir();
    let (actions, at) = world.run();
    assert!(refusal(&actions).contains("has not said yet that it is their master"), "{actions:?}");
    assert!(at >= Millis(10_000), "{at:?}");
    // It is not there: it reads the record when it comes.
    let mut world = World::stopped(&[]).with_heir();
    assert_eq!(reason(&world.run().0), "SteppedDown");
}

/// Two files that follow each other, and no record of it (seeds 7000409 and 7001022): the newer one
/// tells who was named.
#[test]
fn whom_its_master_follows_by_a_newer_file_succeeds_it() {
    let newer = NodesConf::parse(stepped_down(7).as_bytes()).unwrap().identity();
    let run = |identity, data| {
        let mut world = World::stopped(&[3]);
        let mut conf = NodesConf::parse(file(0, 99).as_bytes()).unwrap();
        // This member is a replica of `cache-3` here.
        conf.step_down(id(3), 2).unwrap();
        world.disk = DiskSeen { data, ..disk(&conf.to_string()) };
        world.member(3, Disk { identity, data: true, keeps: true, ..Disk::default() });
        let (actions, _) = world.run();
        let named = world.view.unwrap().successions.get(&id(3)).map(|s| s.heir);
        (actions, named)
    };
    let follows_me = |epoch: u64| {
        let mut identity = newer.clone().unwrap();
        identity.node_id = id(3);
        identity.role = crate::protocol::Role::Replica { of: id(0) };
        identity.config_epoch = epoch;
        Some(identity)
    };
    let (actions, heir) = run(follows_me(7), true);
    assert_eq!((heir, reason(&actions)), (Some(id(0)), "Succeeded"));
    assert!(written(&actions).myself().unwrap().config_epoch > 7);
    let (_, heir) = run(follows_me(7), false);
    assert_eq!(heir, None, "nobody without data is named");
    let (_, heir) = run(Some(identity(3)), true);
    assert_eq!(heir, None, "its master is one by its own file");
}

#[test]
fn the_record_says_a_higher_epoch_where_the_heirs_file_has_that_one_already() {
    let mut world = World::stopped(&[]);
    let view = world.view.as_mut().unwrap();
    view.successions.insert(id(0), named(id(3), 4));
    let text = file(3, 99)
        .replace("master - 0 0 3 ", "master - 0 0 4 ")
        .replace("currentEpoch 3", "currentEpoch 4");
    world.disk = disk(&text);
    let own = NodesConf::parse(text.as_bytes()).unwrap().identity();
    world.own(Disk { identity: own, data: true, keeps: true, ..Disk::default() }, false);
    let (actions, _) = world.run();
    let me = written(&actions).myself().cloned().unwrap();
    assert!(me.is_master() && me.config_epoch > 4, "{me:?}");
    assert_eq!(world.view.unwrap().successions[&id(0)].epoch, me.config_epoch);
}

/// The record follows its heirs: who was one, lost its disk, and was inherited from in turn, is none any
/// more (seed 7104768 of the simulator: the data were thrown away for an empty heir).
#[test]
fn who_gets_its_slots_back_by_the_record_owns_them() {
    let mut world = World::stopped(&[]);
    let view = world.view.as_mut().unwrap();
    view.successions.insert(id(0), named(id(3), 5));
    view.successions.insert(id(3), named(id(0), 6));
    world.disk = disk(&file(0, 99));
    let (actions, _) = world.run();
    let me = written(&actions).myself().cloned().unwrap();
    assert!(me.is_master() && !me.slots.is_empty() && me.config_epoch == 6, "{me:?}");
    assert_eq!(reason(&actions), "Succeeded");
}

#[test]
fn nobody_without_data_is_made_master_instead_of_one_with_data() {
    let mut world = World::running().with_heir();
    world.full.remove(&id(3));
    let (actions, _) = world.run();
    assert!(refusal(&actions).contains("has no data, which this one has"), "{actions:?}");
    assert_eq!(forced(&actions), None);
}

/// Seed 9012672 of the simulator: the heir started while the registry was away, by its file.
#[test]
fn without_the_registry_a_replica_is_told_by_its_former_master_that_it_was_named() {
    let run = |epoch: Option<u64>| {
        let mut world = World::running();
        (world.view, world.disk) = (None, disk(&file(3, 99)));
        world.servers.remove(&server(3));
        if let Some(epoch) = epoch {
            let mut former = seen_by(0);
            former.step_down(id(3), epoch).unwrap();
            world.servers.insert(server(0), former);
        }
        let (actions, at) = world.run();
        let me = written(&actions).myself().cloned().unwrap();
        (me.is_master(), me.slots.len(), me.config_epoch, at >= Millis(10_000))
    };
    assert_eq!(run(Some(9)), (true, 1, 9, true), "the registry is waited for");
    assert_eq!(run(None), (false, 0, 0, true), "nobody says so");
}

/// Seeds 9205331 and 9833779 of the simulator: its master lost its data and named it, by a record that was put back.
#[test]
fn a_replica_asks_its_emptied_master_what_became_of_it() {
    let run = |data: bool, blank: bool| {
        let mut world = World::running();
        let view = world.view.as_mut().unwrap();
        let uid = view.pods["cache-3"].uid.clone();
        let known = Some(identity(0));
        let (now, was) = if blank { (None, known) } else { (known, None) };
        let disk = Disk { identity: now, data, ..Disk::default() };
        let emptied = Member { pod_uid: uid, disk, was, ..member(0, 13) };
        view.members.insert("cache-3".to_owned(), emptied);
        view.members.insert("cache-0".to_owned(), member(3, 10));
        view.earlier.clear();
        let mut former = seen_by(0);
        former.step_down(id(3), 9).unwrap();
        world.servers.insert(server(3), former);
        world.disk = self::disk(&file(3, 99));
        let (actions, _) = world.run();
        (reason(&actions).to_owned(), written(&actions).myself().cloned().unwrap())
    };
    for blank in [false, true] {
        let (reason, me) = run(false, blank);
        assert_eq!((reason.as_str(), me.is_master()), ("Succeeded", true));
        assert!(me.config_epoch >= 9, "{me:?}");
    }
    assert!(!run(true, false).1.is_master(), "with its data it gives nothing away");
}

/// Seed 9850587 of the simulator: it was elected last, has lost its disk since, and follows this one by a
/// record that did not know of the election.
#[test]
fn a_replica_with_data_succeeds_an_empty_one_that_follows_it_whatever_the_epochs() {
    let run = |keys: bool| {
        let mut world = World::running();
        let view = world.view.as_mut().unwrap();
        let uid = view.pods["cache-3"].uid.clone();
        let was = Identity { role: crate::protocol::Role::Replica { of: id(3) }, ..identity(0) };
        let blank = Member { pod_uid: uid, was: Some(was), disk: Disk::default(), ..member(0, 13) };
        view.members.insert("cache-3".to_owned(), blank);
        view.members.insert("cache-0".to_owned(), member(3, 10));
        view.earlier.clear();
        let mut follower = seen_by(0);
        follower.step_down(id(3), 4).unwrap();
        world.servers.insert(server(3), follower);
        world.servers.retain(|at, _| *at == server(3));
        world.elects = false;
        if !keys {
            world.full.remove(&id(0));
        }
        let later = file(3, 99).replace("- 0 0 1 ", "- 0 0 7 ");
        assert_ne!(later, file(3, 99));
        world.disk = disk(&later);
        let (actions, _) = world.run();
        (
            matches!(actions.last(), Some(Action::Refuse(_))),
            world.view.unwrap().successions.get(&id(0)).cloned(),
        )
    };
    let (refused, named) = run(false);
    assert_eq!((refused, named.map(|s| s.heir)), (false, Some(id(3))));
    assert_eq!(run(true).1, None, "it has data, and was elected last");
}
