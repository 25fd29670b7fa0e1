//! A balancer in front of a cluster: HAProxy or nginx as Debian packages them, with the configuration of `deploy/balance`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Service};
use crate::child::{Child, log_tail};
use crate::device::Endpoints;
use crate::servers::ports;

/// The longest that a balancer may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often that is checked.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Which balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancing {
    /// HAProxy.
    HaProxy,
    /// nginx.
    Nginx,
}

impl Balancing {
    /// Both.
    pub const ALL: [Self; 2] = [Self::HaProxy, Self::Nginx];

    fn file(self) -> &'static str {
        match self {
            Self::HaProxy => "haproxy.cfg",
            Self::Nginx => "nginx.conf",
        }
    }

    fn executable(self) -> Result<PathBuf> {
        let name = match self {
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian has both where only root looks.
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
        found.with_context(|| format!("{name} is not installed: .ci/run installs it"))
    }
}

/// A running balancer. Dropping it ends it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    /// Declared before the folder, because fields are dropped in order.
    child: Child,
    folder: TempDir,
}

impl Balancer {
    /// Starts a balancer in front of the cluster's services, and waits until it listens.
    ///
    /// # Errors
    /// When it is not installed, does not start, or its configuration does not have the addresses that it should.
    pub async fn start(balancing: Balancing, cluster: &mut Cluster) -> Result<Self> {
        let executable = balancing.executable()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let folder = TempDir::with_prefix("klatsch-balancer-")?;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/balance").join(balancing.file());
        let mut text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let services = [Service::Users, Service::Chat, Service::Sockets(0), Service::Sockets(1)]
            .map(|service| cluster.program(service).address());
        let defaults = ["127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083", "127.0.0.1:8084", "127.0.0.1:8080"];
        for (default, actual) in defaults.into_iter().zip(services.into_iter().chain([address])) {
            ensure!(text.contains(default), "{} does not name {default}", file.display());
            text = text.replace(default, &actual.to_string());
        }
        if balancing == Balancing::Nginx {
            // Files that it writes: by default they are in the system's folders.
            let own = "http {\naccess_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
                       uwsgi_temp_path uwsgi; scgi_temp_path scgi;";
            text = text.replacen("http {", own, 1);
        }
        let (config, log_path) = (folder.path().join(balancing.file()), folder.path().join("log"));
        fs::write(&config, text)?;
        // One process each, so that none is left over when it is killed.
        let arguments: Vec<OsString> = match balancing {
            Balancing::HaProxy => vec!["-db".into(), "-f".into(), config.into()],
            Balancing::Nginx => {
                let directives = "daemon off; master_process off; pid nginx.pid;";
                let prefix = folder.path().into();
                vec![
                    "-p".into(),
                    prefix,
                    "-c".into(),
                    config.into(),
                    "-e".into(),
                    "stderr".into(),
                    "-g".into(),
                    directives.into(),
                ]
            }
        };
        let log = File::create(&log_path)?;
        let mut child = Child::start("", &executable, &arguments, &[], folder.path(), &log, &log)?;
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status}: {}", executable.display(), log_tail(&log_path));
            }
            ensure!(Instant::now() < deadline, "{} does not listen: {}", executable.display(), log_tail(&log_path));
            sleep(LOOK_EVERY).await;
        }
        Ok(Self { address, child, folder })
    }

    /// The URLs that devices use: all the balancer's.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let url = format!("http://{}", self.address);
        Endpoints { users: url.clone(), chat: vec![url.clone()], sockets: vec![url] }
    }

    /// The end of what it wrote to its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.folder.path().join("log"))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}
