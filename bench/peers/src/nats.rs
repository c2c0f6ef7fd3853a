//! NATS JetStream by the NATS protocol: a stream in files, each record acknowledged by the server.

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::Command;

use crate::peers::Peer;
use crate::servers::{Connection, Lease, Server};

pub const PROGRAM: &str = "nats-server";

/// Records that are published before their acks are read: the server is never made to wait for us.
const WINDOW: usize = 256;

pub struct Nats(Server);

/// Whether this version can sync before it acknowledges: from 2.10 on.
pub fn syncs() -> bool {
    let output = Command::new(PROGRAM).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version =
        text.ok().and_then(|text| text.trim().split_once(": v").map(|at| at.1.to_owned()));
    let mut parts = version.as_deref().unwrap_or_default().split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (2, 10),
        _ => false,
    }
}

impl Nats {
    /// `sync`: each record is on the device before it is acknowledged, if this version can do that.
    pub fn open(dir: &Path, sync: bool) -> Self {
        let always = if sync && syncs() { "sync_interval: always" } else { "" };
        let configuration = format!("jetstream {{ store_dir: \"{}\"\n{always} }}\n", dir.display());
        let file = dir.join("nats.conf");
        std::fs::write(&file, configuration).expect("write the configuration");
        let server = Server::start(PROGRAM, dir, |port| {
            let (file, port) = (file.display().to_string(), port.to_string());
            ["-c", &file, "-a", "127.0.0.1", "-p", &port].map(str::to_owned).to_vec()
        });
        server.wait_until(|connection| {
            let mut line = String::new();
            connection.reader.read_line(&mut line).is_ok() && line.starts_with("INFO")
        });
        let nats = Self(server);
        // A stream that is there already is as it should be.
        let stream =
            r#"{"name":"bench","subjects":["bench"],"storage":"file","allow_direct":true}"#;
        nats.ask("$JS.API.STREAM.CREATE.bench", stream.as_bytes());
        nats
    }

    fn connection(&self) -> Lease<'_> {
        self.0.connection(|connection| {
            let mut line = String::new();
            connection.reader.read_line(&mut line).expect("the server's information");
            connection
                .send(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
            // Inboxes of this connection: no other one has the same local port.
            let port = connection.reader.get_ref().local_addr().expect("a port").port();
            connection.send(format!("SUB i.{port} 1\r\n").as_bytes());
        })
    }

    fn ask(&self, subject: &str, payload: &[u8]) -> Vec<u8> {
        let mut connection = self.connection();
        let inbox = inbox(&connection);
        let mut bytes = Vec::new();
        publish(&mut bytes, subject, &inbox, payload);
        connection.send(&bytes);
        message(&mut connection)
    }
}

fn inbox(connection: &Connection) -> String {
    format!("i.{}", connection.reader.get_ref().local_addr().expect("a port").port())
}

fn publish(bytes: &mut Vec<u8>, subject: &str, inbox: &str, payload: &[u8]) {
    write!(bytes, "PUB {subject} {inbox} {}\r\n", payload.len()).expect("memory");
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\n");
}

/// The next message: what follows its headers, if it has any.
fn message(connection: &mut Connection) -> Vec<u8> {
    loop {
        let mut line = String::new();
        connection.reader.read_line(&mut line).expect("a line of the server");
        let fields: Vec<&str> = line.split_whitespace().collect();
        let size = |place: usize| -> usize {
            let field = fields.get(fields.len().wrapping_sub(place));
            field.and_then(|field| field.parse().ok()).expect("a size")
        };
        let headers = match fields.first() {
            Some(&"MSG") => 0,
            Some(&"HMSG") => size(2),
            Some(&"PING") => {
                connection.send(b"PONG\r\n");
                continue;
            }
            Some(&("INFO" | "+OK")) => continue,
            _ => panic!("the server says: {line}"),
        };
        let mut payload = vec![0; size(1) + 2];
        connection.reader.read_exact(&mut payload).expect("a message");
        payload.truncate(payload.len() - 2);
        return payload.split_off(headers);
    }
}

/// A number in a JSON answer, by its name.
fn number(json: &[u8], name: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    let found = value.pointer(name).and_then(serde_json::Value::as_u64);
    found.unwrap_or_else(|| panic!("no {name} in {value}"))
}

impl Peer for Nats {
    fn append(&self, records: &[&[u8]], _sync: bool) {
        let mut connection = self.connection();
        let inbox = inbox(&connection);
        for window in records.chunks(WINDOW) {
            let mut bytes = Vec::new();
            window.iter().for_each(|record| publish(&mut bytes, "bench", &inbox, record));
            connection.send(&bytes);
            for _ in window {
                number(&message(&mut connection), "/seq");
            }
        }
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        let count = self.count();
        let mut connection = self.connection();
        let inbox = inbox(&connection);
        let consumer = format!(
            r#"{{"stream_name":"bench","config":{{"deliver_subject":"{inbox}.r","ack_policy":"none","deliver_policy":"all"}}}}"#
        );
        let mut bytes = format!("SUB {inbox}.r 2\r\nSUB {inbox}.c 3\r\n").into_bytes();
        publish(
            &mut bytes,
            "$JS.API.CONSUMER.CREATE.bench",
            &format!("{inbox}.c"),
            consumer.as_bytes(),
        );
        connection.send(&bytes);
        // The answer may come before or after the first records.
        let mut left = count + 1;
        while left > 0 {
            let payload = message(&mut connection);
            if !payload.starts_with(b"{\"type\":\"io.nats.jetstream.api") {
                visit(&payload);
            }
            left -= 1;
        }
    }

    fn get(&self, place: u64) -> Option<Vec<u8>> {
        let ask = format!(r#"{{"seq":{}}}"#, place + 1);
        Some(self.ask("$JS.API.DIRECT.GET.bench", ask.as_bytes()))
    }

    fn count(&self) -> u64 {
        number(&self.ask("$JS.API.STREAM.INFO.bench", b""), "/state/messages")
    }
}
