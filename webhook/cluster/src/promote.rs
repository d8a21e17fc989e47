//! Making a replica a master, in the words that it takes, over whatever brings them to it.
//!
//! Guarantees: [`whoever_is`] promotes nobody who has not just named its id.

use crate::id::NodeId;
use crate::planner::{BETWEEN_WORDS, How, Millis};
use crate::resp::{Reply, field};
use crate::secret::Server;

/// Makes the replica behind this connection a master, if it is who it has to be; `pause` sleeps.
///
/// # Errors
/// If it is somebody else, or what it said instead.
pub fn whoever_is(
    server: &mut impl Server,
    id: NodeId,
    how: How,
    pause: impl Fn(Millis),
) -> Result<(), String> {
    let named = text(server, &["CLUSTER", "MYID"])?;
    if named != id.as_str() {
        return Err(format!("the server there is {named} and not {id}"));
    }
    promote(server, how, pause)
}

/// Makes the replica behind this connection a master.
///
/// # Errors
/// What it said instead.
pub fn promote(server: &mut impl Server, how: How, pause: impl Fn(Millis)) -> Result<(), String> {
    let mut last = Ok(String::new());
    for (n, word) in how.words().iter().enumerate() {
        if n > 0 {
            pause(BETWEEN_WORDS);
        }
        last = text(server, &["CLUSTER", "FAILOVER", word]);
    }
    let is_master = last.is_err()
        && text(server, &["INFO", "replication"])
            .is_ok_and(|info| field(&info, "role") == Some("master"));
    how.outcome(last, is_master)
}

fn text(server: &mut impl Server, words: &[&str]) -> Result<String, String> {
    match server.ask(words)? {
        Reply::Error(why) => Err(why),
        reply => reply.text().ok_or_else(|| "the reply is no text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Answers from a list, in its order, and keeps what was asked.
    struct Listed {
        answers: Vec<Reply>,
        asked: Vec<String>,
    }

    impl Server for Listed {
        fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
            self.asked.push(words.join(" "));
            match self.answers.is_empty() {
                true => Err("no reply in time".to_owned()),
                false => Ok(self.answers.remove(0)),
            }
        }
    }

    fn listed(answers: &[&str]) -> Listed {
        let reply = |text: &&str| match text.strip_prefix('-') {
            Some(error) => Reply::Error(error.to_owned()),
            None => Reply::Bulk(Some(text.as_bytes().to_vec())),
        };
        Listed { answers: answers.iter().map(reply).collect(), asked: Vec::new() }
    }

    fn id(digit: char) -> NodeId {
        digit.to_string().repeat(40).parse().unwrap()
    }

    #[test]
    fn somebody_else_is_not_promoted() {
        let mut server = listed(&[id('a').as_str(), "OK"]);
        let said = whoever_is(&mut server, id('b'), How::Vote, |_| {}).unwrap_err();
        assert!(said.contains("and not"), "{said}");
        assert_eq!(server.asked, ["CLUSTER MYID"]);
        let mut server = listed(&[id('a').as_str(), "OK"]);
        whoever_is(&mut server, id('a'), How::Vote, |_| {}).unwrap();
        assert_eq!(server.asked, ["CLUSTER MYID", "CLUSTER FAILOVER FORCE"]);
    }

    #[test]
    fn by_the_record_two_words_are_said_with_a_pause_and_the_second_may_come_too_late() {
        let pauses = Cell::new(0);
        let promote = |answers: &[&str]| {
            let mut server = listed(answers);
            promote(&mut server, How::Record, |_| pauses.set(pauses.get() + 1))
        };
        let refused = "-ERR You should send CLUSTER FAILOVER to a replica";
        promote(&["OK", "OK"]).unwrap();
        promote(&["OK", refused, "role:master\r\n"]).unwrap();
        promote(&["OK", refused, "role:slave\r\n"]).unwrap_err();
        promote(&["OK"]).unwrap_err();
        assert_eq!(pauses.get(), 4);
    }
}
