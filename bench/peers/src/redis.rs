//! Redis Streams by the Redis protocol: an append-only file, synced at each append where it counts.

use std::io::{BufRead, Read, Write};
use std::path::Path;

use crate::peers::Peer;
use crate::servers::{Connection, Lease, Server};

pub const PROGRAM: &str = "redis-server";

/// Records have the identities 1-0, 1-1, ...: the number is the second part.
const NEXT: &[u8] = b"1-*";

pub struct Redis(Server);

/// An answer of the server.
#[derive(Debug)]
enum Reply {
    Text(Vec<u8>),
    Number(i64),
    List(Vec<Reply>),
    Null,
}

impl Redis {
    /// `sync`: each append is on the device before it is answered.
    pub fn open(dir: &Path, sync: bool) -> Self {
        let server = Server::start(PROGRAM, dir, |port| {
            let fsync = if sync { "always" } else { "no" };
            let port = port.to_string();
            ["--port", &port, "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]
                .into_iter()
                .chain(["--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0"])
                .map(str::to_owned)
                .collect()
        });
        server.wait_until(|connection| {
            connection.send(b"*1\r\n$4\r\nPING\r\n");
            matches!(read(connection), Ok(Reply::Text(text)) if text == b"PONG")
        });
        Self(server)
    }

    fn connection(&self) -> Lease<'_> {
        self.0.connection(|_| {})
    }

    fn ask(&self, parts: &[&[u8]]) -> Reply {
        let mut connection = self.connection();
        connection.send(&command(parts));
        read(&mut connection).expect("an answer")
    }
}

fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, parts);
    bytes
}

fn push(bytes: &mut Vec<u8>, parts: &[&[u8]]) {
    write!(bytes, "*{}\r\n", parts.len()).expect("memory");
    for part in parts {
        write!(bytes, "${}\r\n", part.len()).expect("memory");
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
}

fn read(connection: &mut Connection) -> Result<Reply, String> {
    let mut line = String::new();
    connection.reader.read_line(&mut line).map_err(|cause| cause.to_string())?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or("the server is gone")?;
    let number = || rest.parse::<i64>().map_err(|_| line.to_owned());
    match kind {
        "+" => Ok(Reply::Text(rest.as_bytes().to_vec())),
        ":" => Ok(Reply::Number(number()?)),
        "$" => match usize::try_from(number()?) {
            Err(_) => Ok(Reply::Null),
            Ok(length) => {
                let mut text = vec![0; length + 2];
                connection.reader.read_exact(&mut text).map_err(|cause| cause.to_string())?;
                text.truncate(length);
                Ok(Reply::Text(text))
            }
        },
        "*" => (0..number()?).map(|_| read(connection)).collect::<Result<_, _>>().map(Reply::List),
        _ => Err(line.to_owned()),
    }
}

/// Visits the payloads of an answer to XRANGE, and answers the identity of the last one.
fn visit(reply: Reply, each: &mut dyn FnMut(&[u8])) -> Option<Vec<u8>> {
    let Reply::List(records) = reply else { panic!("no list: {reply:?}") };
    let mut last = None;
    for record in records {
        let Reply::List(parts) = record else { panic!("no record") };
        let Ok([Reply::Text(id), Reply::List(fields)]) = <[Reply; 2]>::try_from(parts) else {
            panic!("no record")
        };
        let [_, Reply::Text(payload)] = fields.as_slice() else { panic!("no payload") };
        each(payload);
        last = Some(id);
    }
    last
}

impl Peer for Redis {
    fn append(&self, records: &[&[u8]], _sync: bool) {
        let mut bytes = Vec::new();
        // A transaction is applied and synced at once; a mere pipeline in parts, as it is received.
        let together = records.len() > 1;
        if together {
            push(&mut bytes, &[b"MULTI"]);
        }
        for record in records {
            push(&mut bytes, &[b"XADD", b"bench", NEXT, b"p", record]);
        }
        if together {
            push(&mut bytes, &[b"EXEC"]);
        }
        let mut connection = self.connection();
        connection.send(&bytes);
        let answers = records.len() + if together { 2 } else { 0 };
        let last = (0..answers).map(|_| read(&mut connection).expect("an answer")).last();
        match last {
            Some(Reply::List(identities)) => assert_eq!(identities.len(), records.len()),
            other => assert!(matches!(other, Some(Reply::Text(_))), "{other:?}"),
        }
    }

    fn replay(&self, each: &mut dyn FnMut(&[u8])) {
        let mut from = b"-".to_vec();
        while let Some(last) =
            visit(self.ask(&[b"XRANGE", b"bench", &from, b"+", b"COUNT", b"1000"]), each)
        {
            from = [b"(".as_slice(), &last].concat();
        }
    }

    fn get(&self, number: u64) -> Option<Vec<u8>> {
        let id = format!("1-{number}").into_bytes();
        let mut found = None;
        visit(self.ask(&[b"XRANGE", b"bench", &id, &id]), &mut |one| found = Some(one.to_vec()));
        found
    }

    fn count(&self) -> u64 {
        match self.ask(&[b"XLEN", b"bench"]) {
            Reply::Number(number) => number.try_into().expect("a count"),
            other => panic!("no count: {other:?}"),
        }
    }
}
