//! Real Docker daemons on nodes: each with the node's own /run and /var/lib, so that its default paths are exercised, and an image made here, without a registry.
//!
//! dockerd refuses to run in a user namespace, so such tests take the machine's own root. What it makes is gone with the world but for empty cgroups,
//! which [`crate::cgroups`] takes away.

use std::cell::RefCell;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::artifacts;
use crate::cgroups;
use crate::netns::NetNs;
use crate::node::Node;
use crate::process::run;
use crate::wait::wait_until;
use crate::world::ROOT;

/// How long a daemon or a container may take on a busy machine.
const SOON: Duration = Duration::from_secs(40);
/// The programs of the image: all are busybox.
const PROGRAMS: [&str; 4] = ["sh", "httpd", "wget", "timeout"];

/// Why no container daemon can run here; none when one can.
pub(crate) fn lacking() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("container daemons want root".into());
    }
    if !Path::new("/sys/fs/cgroup").is_dir() || std::fs::read_dir("/sys/fs/cgroup").is_ok_and(|mut all| all.next().is_none()) {
        return Some("there are no cgroups".into());
    }
    // That it is there at all is the test's own need.
    which("busybox").filter(|path| !is_static(path)).map(|_| "busybox is not the static one (Debian: busybox-static)".into())
}

/// True for a program that needs no library, and so can be alone in an image.
fn is_static(program: &Path) -> bool {
    std::fs::read(program).is_ok_and(|bytes| !bytes.windows(9).any(|piece| piece == b"/ld-linux"))
}

fn which(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A node's Docker daemon.
#[derive(Debug)]
pub struct Docker<'a> {
    node: &'a Node,
    child: RefCell<Option<Child>>,
}

impl<'a> Docker<'a> {
    /// Starts one as the README says: with what `twill docker-opts` wrote.
    pub fn start(node: &'a Node) -> Result<Docker<'a>> {
        let docker = Docker { node, child: RefCell::new(None) };
        docker.resume()?;
        Ok(docker)
    }

    /// Starts it again.
    pub fn resume(&self) -> Result<()> {
        ensure!(self.child.borrow().is_none(), "the Docker daemon of {} runs already", self.node.name());
        self.node.twill(&["docker-opts", "-c"])?;
        let logs = artifacts::logs(&crate::world::role().unwrap_or_default());
        std::fs::create_dir_all(&logs)?;
        let log = File::options().create(true).append(true).open(logs.join(format!("{}.dockerd.log", self.node.name())))?;
        let cgroups = cgroups::name();
        // It keeps a key in /etc/docker, which is the machine's.
        let view = self.node.view()?.hide(Path::new("/etc/docker"));
        let mut sh = view.command(Path::new("/bin/sh"));
        let script = format!(". /run/docker_opts.env && exec dockerd $DOCKER_OPTS --storage-driver=vfs --cgroup-parent=/{cgroups}");
        sh.args(["-c", &script]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        *self.child.borrow_mut() = Some(sh.spawn().context("cannot start dockerd")?);
        wait_until(&format!("the Docker daemon of {}", self.node.name()), SOON, || {
            let ended = self.child.borrow_mut().as_mut().map(|child| child.try_wait());
            ensure!(matches!(ended, Some(Ok(None))), "dockerd has ended: {ended:?}");
            self.docker(&["version"]).map(drop)
        })
    }

    /// Has it end, and its containers with it.
    pub fn stop(&self) -> Result<()> {
        let mut child = self.child.borrow_mut().take().context("no Docker daemon runs")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        wait_until("the end of dockerd", SOON, || child.try_wait()?.context("it runs"))?;
        Ok(())
    }

    /// A container that serves, on port 80, its name at `/name` and its client's address at `/cgi-bin/client`; published as the node's port 8080.
    /// Port 81, where the image has nobody, is published as 8081. It is started again with the daemon.
    pub fn serve(&self, name: &str) -> Result<()> {
        let image = image(name)?;
        let mut import = self.node.command("/bin/sh")?;
        run(import.args(["-c", "tar -C \"$0\" -c . | docker import - lab >/dev/null"]).arg(image))?;
        // As first process of its namespace it would take no notice of a gentler signal.
        let options = ["run", "-d", "--restart=always", "--stop-signal=KILL", "-p", "8080:80", "-p", "8081:81", "--name", name, "lab"];
        self.docker(&[&options[..], &["/bin/httpd", "-f", "-p", "0.0.0.0:80", "-h", "/www"]].concat()).map(drop)
    }

    /// A container's address.
    pub fn address(&self, name: &str) -> Result<Ipv4Addr> {
        let address = self.docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", name])?;
        address.trim().parse().with_context(|| format!("container {name} has no address: {address:?}"))
    }

    /// A container's network namespace.
    pub fn net(&self, name: &str) -> Result<NetNs> {
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", name])?;
        NetNs::of_process(name, pid.trim().parse().with_context(|| format!("container {name} has no process: {pid:?}"))?)
    }

    /// What a container gets by HTTP.
    pub fn fetch(&self, name: &str, url: &str) -> Result<String> {
        // wget's own time limit makes a static busybox crash.
        Ok(self.docker(&["exec", name, "/bin/timeout", "3", "/bin/wget", "-q", "-O", "-", url])?.trim().to_owned())
    }

    fn docker(&self, words: &[&str]) -> Result<String> {
        run(self.node.command("/usr/bin/env")?.arg("docker").args(words))
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        // Containers leave their cgroups empty when the daemon ends them; the world's end would not wait.
        let _ = self.stop();
    }
}

/// A folder with the image's files.
fn image(name: &str) -> Result<PathBuf> {
    let root = Path::new(ROOT).join("images").join(name);
    for folder in ["bin", "www/cgi-bin", "tmp"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    let busybox = which("busybox").context("busybox is not installed")?;
    std::fs::copy(busybox, root.join("bin/busybox"))?;
    for program in PROGRAMS {
        symlink("busybox", root.join("bin").join(program))?;
    }
    std::fs::write(root.join("www/name"), name)?;
    let script = root.join("www/cgi-bin/client");
    std::fs::write(&script, "#!/bin/sh\necho \"Content-Type: text/plain\"\necho\necho \"$REMOTE_ADDR\"\n")?;
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755))?;
    Ok(root)
}
