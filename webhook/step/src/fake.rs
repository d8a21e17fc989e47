//! Servers that answer as a test tells them to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use cluster::server::ServerConfig;

use crate::disk::RealFiles;

/// Starts one; `answer` gets a command, its words joined by blanks.
pub(crate) fn server(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut received = Vec::new();
                let mut chunk = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut chunk) {
                    received.extend_from_slice(&chunk[..n]);
                    while let Ok(Some((command, used))) = cluster::resp::decode(&received) {
                        received.drain(..used);
                        let cluster::resp::Reply::Array(Some(words)) = command else { return };
                        let words: Vec<_> = words.iter().filter_map(|w| w.text()).collect();
                        if stream.write_all(answer(&words.join(" ")).as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    at
}

/// An address at which connections are taken and nobody ever answers.
pub(crate) fn mute() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    // For as long as the test runs.
    std::mem::forget(listener);
    at
}

/// Text as a server sends it.
pub(crate) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// The configuration of a server at this address.
pub(crate) fn config(at: SocketAddr) -> ServerConfig {
    let port = (at.port().min(50_000)).to_string();
    let words = ["--cluster-enabled", "yes", "--port", &port].map(str::to_owned);
    let mut config = ServerConfig::read(&words, Path::new("/data"), &RealFiles).unwrap();
    config.port = Some(at.port());
    config
}
