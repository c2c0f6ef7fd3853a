//! Services in containers, for tests on machines with Docker (feature `containers`).

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use testcontainers::core::wait::WaitFor;
use testcontainers::core::{ExecCommand, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

/// How long a container may take until it is ready, with the time to fetch its image.
const READY_MAX: Duration = Duration::from_secs(300);

/// A service: where its image comes from, how it is started, and when it is ready.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// The image's name, e.g. `minio/minio`.
    pub name: &'static str,
    /// Its tag.
    pub tag: &'static str,
    /// The port that it listens on, within the container.
    pub port: u16,
    /// What is run instead of the image's own entry point, if anything.
    pub entrypoint: Option<&'static str>,
    /// The arguments.
    pub command: &'static [&'static str],
    /// What it says on its output once it is ready.
    pub ready: &'static str,
    /// What is run within the container then; none when empty.
    pub prepare: &'static [&'static str],
}

/// A service that runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    host: String,
    port: u16,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a service, and returns once it is ready. Blocks; may be called on any thread.
    ///
    /// # Errors
    ///
    /// What is missing, in words: a container engine, the image, an answer in time.
    pub fn start(image: Image) -> Result<Self, String> {
        let (stop, stopped) = channel();
        let (ready, readiness) = channel();
        // A thread and a runtime of its own: whoever asks may be within a runtime, or in none.
        let keeper = std::thread::spawn(move || keep(image, &ready, &stopped));
        let (host, port) = readiness.recv().map_err(|_| "the container's thread ended")??;
        Ok(Self { host, port, stop: Some(stop), keeper: Some(keeper) })
    }

    /// Where it is, as `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            // It has said what went wrong, if anything did.
            let _ = keeper.join();
        }
    }
}

type Readiness = Result<(String, u16), String>;

/// Keeps a container until nobody holds the other end of `stopped` any more.
fn keep(image: Image, ready: &Sender<Readiness>, stopped: &Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(cause) => {
            let _ = ready.send(Err(format!("no runtime: {cause}")));
            return;
        }
    };
    let started = runtime.block_on(async { tokio::time::timeout(READY_MAX, start(image)).await });
    let name = image.name;
    let (container, place) = match started {
        Ok(Ok(started)) => started,
        Ok(Err(why)) => {
            let _ = ready.send(Err(format!("{name} does not start in a container: {why}")));
            return;
        }
        Err(_) => {
            let _ = ready.send(Err(format!("{name} is not ready after {READY_MAX:?}")));
            return;
        }
    };
    if ready.send(Ok(place)).is_ok() {
        // Nothing is ever sent: it returns when the service is dropped.
        let _ = stopped.recv();
    }
    // What is left behind then is the engine's to show.
    let _ = runtime.block_on(container.rm());
}

async fn start(image: Image) -> Result<(ContainerAsync<GenericImage>, (String, u16)), String> {
    let text = |cause: testcontainers::TestcontainersError| cause.to_string();
    let mut generic = GenericImage::new(image.name, image.tag)
        .with_exposed_port(image.port.tcp())
        .with_wait_for(WaitFor::message_on_either_std(image.ready));
    if let Some(entrypoint) = image.entrypoint {
        generic = generic.with_entrypoint(entrypoint);
    }
    let request = generic.with_cmd(image.command.iter().copied());
    let container = request.with_startup_timeout(READY_MAX).start().await.map_err(text)?;
    if !image.prepare.is_empty() {
        let command = ExecCommand::new(image.prepare.iter().copied());
        let mut done = container.exec(command).await.map_err(text)?;
        let said = done.stderr_to_vec().await.map_err(text)?;
        let code = done.exit_code().await.map_err(text)?;
        if code != Some(0) {
            let said = String::from_utf8_lossy(&said).into_owned();
            return Err(format!("it cannot be prepared ({code:?}): {said}"));
        }
    }
    let host = container.get_host().await.map_err(text)?.to_string();
    let port = container.get_host_port_ipv4(image.port).await.map_err(text)?;
    Ok((container, (host, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_that_cannot_be_had_says_why() {
        let image = Image {
            name: "msglog.invalid/none",
            tag: "none",
            port: 1,
            entrypoint: None,
            command: &[],
            ready: "never",
            prepare: &[],
        };
        let why = Running::start(image).unwrap_err();
        assert!(why.contains("msglog.invalid/none"), "{why}");
    }
}
