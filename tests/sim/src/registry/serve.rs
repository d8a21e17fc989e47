//! What each request does, step by step.

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::Ordinal;
use cluster::moment;
use cluster::protocol::{HeirPolicy, Member, Proposal, Register, Report, View};
use cluster::record::{self, Change, Place, Standing};

use super::{Answer, Found, Op, Phase, Record, Request};
use crate::kube::{NAME, uid};
use crate::mutation::Mutation;
use crate::schedule::{Claims, Management};
use crate::world::World;

impl World {
    /// One step of a request; `None` while there are more.
    pub(super) fn serve(&mut self, op: &mut Op) -> Result<Option<Answer>, Answer> {
        if !self.sets[op.set].exists {
            return Err(refused("there is no StatefulSet"));
        }
        if self.sets[op.set].pods.get(&op.ordinal).is_none_or(|p| p.uid != op.uid) {
            return Err(refused("the pod is gone"));
        }
        match op.request.clone() {
            Request::Register(body) => self.register(op, &body),
            Request::Report(report) => self.report(op, &report),
            Request::Propose(proposal) => self.propose(op, &proposal),
            Request::View => {
                let record = self.record(op.set)?;
                let reasons = self.reasons(op.set, op.ordinal, record);
                let claims = self.claims_known(op.set);
                Ok(Some(self.view(op, record, reasons, None, claims)))
            }
        }
    }

    fn record(&self, set: usize) -> Result<&Record, Answer> {
        let none = || Answer::Failed { why: "there is no record yet".into(), retry: true };
        self.sets[set].record.as_ref().ok_or_else(none)
    }

    fn register(&mut self, op: &mut Op, body: &Register) -> Result<Option<Answer>, Answer> {
        let set = op.set;
        let pod = self.sets[set].pod_name(op.ordinal);
        match std::mem::replace(&mut op.phase, Phase::Read) {
            Phase::Read => {
                self.ensure_record(set);
                let record = self.record(set)?;
                let blank = body.disk.identity.is_none() && !body.disk.data;
                let reasons =
                    if blank { self.reasons(set, op.ordinal, record) } else { Vec::new() };
                let before = record.members.get(&pod).cloned();
                let place = Place { namespace: self.sets[set].namespace, set: NAME };
                let entry =
                    record::entry(place, NAME, &record.plan, &pod, body, before.as_ref(), &reasons);
                let claims = if body.disk.data { None } else { self.claims_known(set) };
                let ended = |uid: &str| self.ended.contains_key(uid);
                let lingering = record::lingering(before.as_ref(), &uid(op.uid), ended);
                let found = Found { before, reasons, claims, entry, lingering, written: None };
                op.phase = Phase::Write(Box::new(found));
                Ok(None)
            }
            Phase::Write(mut found) => {
                self.ensure_record(set);
                let registered_at = moment::rfc3339(self.now() * 1_000);
                let Some(record) = &mut self.sets[set].record else { return Ok(None) };
                let kept = record.members.get(&pod);
                let member = Member {
                    node_id: found.entry.node_id,
                    ips: body.ips.clone(),
                    ports: body.ports,
                    pod_uid: uid(op.uid),
                    registered_at,
                    disk: found.entry.disk.clone(),
                    lingering: found.lingering.clone(),
                    was: found.entry.was.clone(),
                    bootstrapped: kept.is_some_and(|k| k.bootstrapped),
                    generation: kept.map_or(0, |k| k.generation),
                    server: kept.and_then(|k| k.server.clone()),
                    decision: kept.and_then(|k| k.decision.clone()),
                };
                record.members.insert(pod, member);
                found.written = Some(record.clone());
                self.changed(set);
                op.phase = Phase::Pods(found);
                Ok(None)
            }
            Phase::Pods(found) => {
                let Found { before, reasons, claims, written, .. } = *found;
                Ok(written.map(|written| self.view(op, &written, reasons, before, claims)))
            }
            Phase::Change(_) => Ok(None),
        }
    }

    fn report(&mut self, op: &Op, report: &Report) -> Result<Option<Answer>, Answer> {
        let pod = self.sets[op.set].pod_name(op.ordinal);
        self.record(op.set)?;
        let Some(record) = &mut self.sets[op.set].record else { return Ok(None) };
        let generation = record.plan.generation;
        if let Some(member) = record.members.get_mut(&pod) {
            if member.pod_uid != uid(op.uid) {
                return Err(refused("the pod has been replaced"));
            }
            member.decision = Some(report.reason.clone());
            if report.is_of_a_start() {
                member.lingering.clear();
            }
            if report.bootstrapped {
                member.bootstrapped = true;
                member.generation = generation;
                member.was = None;
            }
            member.node_id = report.node_id.or(member.node_id);
            self.changed(op.set);
        }
        Ok(Some(Answer::Done))
    }

    fn propose(&mut self, op: &mut Op, proposal: &Proposal) -> Result<Option<Answer>, Answer> {
        let set = op.set;
        if let Phase::Change(change) = std::mem::replace(&mut op.phase, Phase::Read) {
            let (change, version) = *change;
            if self.record(set)?.version == version {
                self.change(set, &change);
                self.heir_was_named(set, op.ordinal, &change);
                return self.answer_of(op).map(Some);
            }
        }
        op.tries += 1;
        if op.tries > 4 {
            return Err(Answer::Failed { why: "the record keeps changing".into(), retry: true });
        }
        let record = self.record(set)?;
        let s = &self.sets[set];
        let (pods, claims) = (s.seen(), self.claims_known(set));
        let standing = Standing {
            set: NAME,
            wanted: (0..s.replicas).map(|ordinal| s.pod_name(ordinal)).collect(),
            pod: &s.pod_name(op.ordinal),
            plan: &record.plan,
            members: &record.members,
            pods: &pods,
            claims: claims.as_ref(),
            successions: &record.successions,
        };
        let judged = self.judge(proposal, &standing);
        self.tell(|| format!("{} is told: {judged:?}", s.full_name(op.ordinal)));
        let change = judged.map_err(|why| refused(&why))?;
        if change == Change::Nothing {
            return self.answer_of(op).map(Some);
        }
        op.phase = Phase::Change(Box::new((change, record.version)));
        Ok(None)
    }

    fn answer_of(&self, op: &Op) -> Result<Answer, Answer> {
        let record = self.record(op.set)?;
        let reasons = self.reasons(op.set, op.ordinal, record);
        let before = record.members.get(&self.sets[op.set].pod_name(op.ordinal)).cloned();
        let claims = self.claims_known(op.set);
        Ok(self.view(op, record, reasons, before, claims))
    }

    fn judge(&self, proposal: &Proposal, standing: &Standing<'_>) -> Result<Change, String> {
        if self.mutation != Some(Mutation::JudgeSaysYes) {
            return record::judge(proposal, standing);
        }
        Ok(match proposal {
            Proposal::Anew { generation } => Change::Generation(generation + 1),
            Proposal::Succeed { from, succession } | Proposal::Settle { from, succession } => {
                Change::Succession(*from, succession.clone())
            }
        })
    }

    fn change(&mut self, set: usize, change: &Change) {
        let Some(record) = &mut self.sets[set].record else { return };
        match change {
            Change::Nothing => return,
            Change::Generation(generation) => {
                record.plan.generation = *generation;
                record.restored = false;
            }
            Change::Succession(from, succession) => {
                record.successions.insert(*from, succession.clone());
            }
        }
        self.changed(set);
    }

    /// The pods that have a claim; pods without claims have no other volumes here.
    fn claims_known(&self, set: usize) -> Option<BTreeSet<String>> {
        match self.schedule.config.claims {
            Claims::Yes => Some(self.claimed(set)),
            Claims::No => Some(BTreeSet::new()),
        }
    }

    fn view(
        &self,
        op: &Op,
        record: &Record,
        past: Vec<String>,
        before: Option<Member>,
        claims: Option<BTreeSet<String>>,
    ) -> Answer {
        let s = &self.sets[op.set];
        let pods = s.seen();
        let here =
            |(name, m): &(String, Member)| pods.get(name).is_some_and(|p| p.uid == m.pod_uid);
        let (members, earlier): (BTreeMap<_, _>, BTreeMap<_, _>) =
            record.members.clone().into_iter().partition(here);
        let seen_to_end = earlier.iter().filter_map(|(name, member): (&String, &Member)| {
            let at = self.ended.get(&member.pod_uid)?;
            Some((name.clone(), moment::rfc3339(at * 1_000)))
        });
        let seen_to_end = seen_to_end.collect();
        let own = uid(op.uid);
        let ended = |b: &Member| b.pod_uid != own && self.ended.contains_key(&b.pod_uid);
        Answer::View(Box::new(View {
            namespace: s.namespace.to_owned(),
            name: NAME.to_owned(),
            pod: s.pod_name(op.ordinal),
            ordinal: Ordinal(op.ordinal),
            replicas: s.replicas,
            parallel: self.schedule.config.pods == Management::Parallel,
            listed: Vec::new(),
            past,
            plan: record.plan.clone(),
            predecessor_ended: before.as_ref().is_some_and(ended),
            before,
            members,
            pods,
            earlier,
            ended: seen_to_end,
            claims,
            successions: record.successions.clone(),
            heirs: HeirPolicy::Fresh,
            forgotten: record.forgotten.clone(),
            hook_token: "token".to_owned(),
            restored: record.restored,
            secret: None,
        }))
    }
}

fn refused(why: &str) -> Answer {
    Answer::Failed { why: why.to_owned(), retry: false }
}
