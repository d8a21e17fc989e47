//! The client's questions and answers: `GET /status?since=0` and the like, JSON over HTTP on one
//! port of the pod, asked by the same binary (`client ask status`), since its image has no shell.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Judge;
use crate::clock;
use crate::timeline::At;

/// Of the loopback interface: only what runs in the pod can ask.
pub const PORT: u16 = 8080;
const LONGEST_REQUEST: usize = 4096;

/// Answers until the process ends; must run inside the judge's `LocalSet`.
pub async fn serve(judge: Rc<Judge>) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).await.context("cannot listen")?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let judge = Rc::clone(&judge);
        tokio::task::spawn_local(async move {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut part = [0; 512];
                match stream.read(&mut part).await {
                    Ok(n) if n > 0 && request.len() < LONGEST_REQUEST => {
                        request.extend_from_slice(part.get(..n).unwrap_or_default());
                    }
                    _ => return,
                }
            }
            let request = String::from_utf8_lossy(&request);
            let target = request.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match answer(&judge, target).await {
                Ok(body) => ("200 OK", body),
                Err(error) => ("400 Bad Request", format!("{error:#}")),
            };
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
            // The asker may have gone away; nobody else is to know.
            let _ = stream.write_all(format!("{head}{body}\n").as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

/// Asks the client in this pod; the answer's body.
pub fn ask(target: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT)).context("the client is not there")?;
    write!(stream, "GET /{target} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is cut off")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{}", body.trim());
    }
    Ok(body.trim().to_owned())
}

async fn answer(judge: &Judge, target: &str) -> Result<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let number = |name: &str| -> Result<u64> {
        let values = query.split('&').filter_map(|pair| pair.split_once('='));
        match values.filter(|(key, _)| *key == name).map(|(_, value)| value).next() {
            Some(value) => value.parse().with_context(|| format!("{name} is not a number")),
            None => Ok(0),
        }
    };
    let since = At(number("since")?);
    match path {
        "/now" => json(&clock::now()),
        "/status" => json(&judge.status(since)),
        "/wait" => {
            let calm = Duration::from_millis(number("calm")?);
            let limit = Duration::from_millis(number("limit")?);
            json(&judge.wait(since, calm, limit).await)
        }
        "/verify" => json(&judge.verify().await?),
        "/sweep" => json(&judge.sweep().await?),
        "/pause" | "/resume" => {
            judge.pause(path == "/pause");
            json(&clock::now())
        }
        _ => bail!("{path}: ask for now, status, wait, verify, sweep, pause or resume"),
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(value)?)
}
