//! A server that a peer needs: started for one run on a port of its own of this machine, and ended
//! with it.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a server may take until it answers, loading its data included.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server, and connections that nobody uses at the moment.
pub struct Server {
    child: Child,
    port: u16,
    idle: Mutex<Vec<Connection>>,
}

/// A connection, read through a buffer.
pub struct Connection {
    pub reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::with_capacity(1 << 20, stream) })
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("send to the server");
    }
}

/// A connection of a server, given back when it is dropped.
pub struct Lease<'a> {
    server: &'a Server,
    connection: Option<Connection>,
}

impl std::ops::Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a connection")
    }
}

impl std::ops::DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a connection")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.server.idle().extend(self.connection.take());
    }
}

/// Whether a program is there.
pub fn installed(program: &str) -> bool {
    let shown = Command::new(program).arg("--version").output();
    shown.is_ok_and(|output| output.status.success())
}

impl Server {
    /// Starts a program with the arguments for a port.
    pub fn start(program: &str, dir: &Path, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let mut command = Command::new(program);
        command.args(arguments(port)).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: one system call between fork and exec: the server ends with this process.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn().expect("start the server");
        Self { child, port, idle: Mutex::new(Vec::new()) }
    }

    /// Waits until `ready` finds a connection that answers.
    pub fn wait_until(&self, ready: impl Fn(&mut Connection) -> bool) {
        let started = Instant::now();
        while !Connection::open(self.port).is_ok_and(|mut connection| ready(&mut connection)) {
            assert!(started.elapsed() < START_MAX, "the server does not answer");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A connection that nobody else uses; a new one is told to `greet` first.
    pub fn connection(&self, greet: impl Fn(&mut Connection)) -> Lease<'_> {
        let idle = self.idle().pop();
        let connection = idle.unwrap_or_else(|| {
            let mut connection = Connection::open(self.port).expect("connect to the server");
            greet(&mut connection);
            connection
        });
        Lease { server: self, connection: Some(connection) }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().expect("lock")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        let _ = self.child.wait();
    }
}
