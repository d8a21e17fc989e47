//! What both hooks share: the user's own hook, which is run as it would have been, and the
//! connection to the server beside them.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use cluster::server::ServerConfig;

use crate::redis::Client;

/// The user's own hook, if there was one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Arguments {
    sleep: Option<u64>,
    command: Vec<OsString>,
}

// === impl Arguments ===

impl Arguments {
    /// Reads `[--sleep SECONDS] [-- COMMAND ...]`.
    pub(crate) fn parse(words: &[OsString]) -> Result<Self, String> {
        let mut out = Self::default();
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(argument) = parser.next().map_err(|e| e.to_string())? {
            match argument {
                lexopt::Arg::Long("sleep") => {
                    let value = parser.value().map_err(|e| e.to_string())?;
                    let seconds = value.to_str().and_then(|v| v.parse().ok());
                    out.sleep = Some(seconds.ok_or("--sleep takes a number of seconds")?);
                }
                lexopt::Arg::Value(first) => {
                    out.command.push(first);
                    out.command.extend(parser.raw_args().map_err(|e| e.to_string())?);
                }
                other => return Err(other.unexpected().to_string()),
            }
        }
        Ok(out)
    }

    /// Runs the user's hook. Its failure is the hook's failure, as it was before.
    pub(crate) fn run(&self) -> Result<(), String> {
        if let Some(seconds) = self.sleep {
            std::thread::sleep(Duration::from_secs(seconds));
        }
        let Some((program, rest)) = self.command.split_first() else { return Ok(()) };
        let name = program.to_string_lossy();
        match Command::new(program).args(rest).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the pod's own hook `{name}` ended with {status}")),
            Err(e) => Err(format!("the pod's own hook `{name}` can not be run: {e}")),
        }
    }
}

/// A connection to the server in this pod.
pub(crate) fn local(config: &ServerConfig, timeout: Duration) -> Result<Client, String> {
    let port = config.port.ok_or(NO_PORT)?;
    let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    Client::connect(at, &config.credentials, timeout)
}

/// Whether asking again is of no use: a password that is wrong now will be wrong later, and TLS is not
/// spoken.
pub(crate) fn is_for_good(why: &str) -> bool {
    ["WRONGPASS", "NOAUTH", NO_PORT].iter().any(|text| why.contains(text))
}

const NO_PORT: &str = "the server has no port in the clear";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_hook_is_kept() {
        let parse = |words: &[&str]| {
            Arguments::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
        };
        assert_eq!(parse(&[]), Ok(Arguments::default()));
        let with = parse(&["--sleep", "5", "--", "sh", "-c", "exit --x"]).unwrap();
        assert_eq!((with.sleep, with.command.len()), (Some(5), 3));
        assert!(parse(&["--other"]).is_err() && parse(&["--sleep", "x"]).is_err());
        assert!(is_for_good(NO_PORT) && !is_for_good("LOADING Redis is loading"));
        assert!(parse(&["--", "true"]).unwrap().run().is_ok());
        assert!(parse(&["--", "false"]).unwrap().run().is_err());
    }
}
