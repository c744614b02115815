//! Finds libtorch for the trainer and says which library path shows it to the loader: no absolute
//! path is built into the trainer, so one binary serves every host.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The one release that the trainer is bound to.
pub const LIBTORCH_VERSION: &str = "2.11.0";
/// The project's own folder, which `make libtorch` links.
const PROJECT_FOLDER: &str = ".libtorch";
/// A Python that is slower than this to say where torch lies is broken or on a dead file system.
const PYTHON_WAIT: Duration = Duration::from_secs(10);
/// Prints the version and the folder of Python's torch. Does not import it: that takes seconds.
const PYTHON_CODE: &str = "from importlib.metadata import distribution as d; t = d('torch'); \
                           print(t.version); print(t.locate_file('torch'))";

/// No libtorch for the trainer.
#[derive(Debug, thiserror::Error)]
pub enum LibtorchError {
    /// None of the three places has one.
    #[error(
        "no libtorch {LIBTORCH_VERSION}{} was found: LIBTORCH is not set, no folder `.libtorch` \
         lies above the trainer or the working directory, and python3 has no torch \
         {LIBTORCH_VERSION}; `make libtorch` sets it up{}",
        if *cuda { " with CUDA" } else { "" },
        if *cuda { " (with CUDA: deploy/libtorch.sh --cuda)" } else { "" }
    )]
    Absent {
        /// Whether CUDA was needed.
        cuda: bool,
    },
    /// LIBTORCH names a folder without it.
    #[error(
        "LIBTORCH is `{}`, which has no lib/libtorch_cpu.so; unset it or run `make libtorch`",
        path.display()
    )]
    NotOne {
        /// The folder.
        path: PathBuf,
    },
    /// LIBTORCH names another release.
    #[error(
        "LIBTORCH is `{}`, which is libtorch {found}; {LIBTORCH_VERSION} is needed",
        path.display()
    )]
    Version {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// LIBTORCH names one without CUDA.
    #[error(
        "LIBTORCH is `{}`, which has no lib/libtorch_cuda.so: a CUDA device needs libtorch \
         {LIBTORCH_VERSION} with CUDA (deploy/libtorch.sh --cuda)", path.display()
    )]
    NoCuda {
        /// The folder.
        path: PathBuf,
    },
}

/// A libtorch of the right version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Libtorch {
    root: PathBuf,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    /// LIBTORCH.
    pub named: Option<PathBuf>,
    /// Folders from which the project's own is looked for upwards.
    pub project_below: Vec<PathBuf>,
    /// A Python that may have torch.
    pub python: PathBuf,
}

impl Places {
    /// Those of this process and this trainer.
    pub fn of_process(trainer: &Path) -> Places {
        let named = env::var_os("LIBTORCH").filter(|path| !path.is_empty());
        let trainer = trainer.canonicalize().unwrap_or_else(|_| trainer.into());
        let mut project_below = trainer.parent().map(PathBuf::from).into_iter().collect::<Vec<_>>();
        project_below.extend(env::current_dir());
        Places { named: named.map(PathBuf::from), project_below, python: "python3".into() }
    }

    /// The first libtorch of the right version; with CUDA where that is needed. What LIBTORCH
    /// names is taken or refused, never passed over, unless it is the project's own folder
    /// (`cargo run` sets it to that).
    pub fn find(&self, cuda: bool) -> Result<Libtorch, LibtorchError> {
        let named = self.named.as_deref().filter(|path| !path.ends_with(PROJECT_FOLDER));
        if let Some(path) = named {
            return Libtorch::named(path, cuda);
        }
        let own = self.named.iter().cloned();
        let above = self.project_below.iter().flat_map(|folder| folder.ancestors());
        let above = above.map(|folder| folder.join(PROJECT_FOLDER));
        for root in own.chain(above) {
            if let Some(libtorch) = Libtorch::usable(root, cuda) {
                return Ok(libtorch);
            }
        }
        let python = python_torch(&self.python).and_then(|root| Libtorch::usable(root, cuda));
        python.ok_or(LibtorchError::Absent { cuda })
    }
}

impl Libtorch {
    fn named(path: &Path, cuda: bool) -> Result<Libtorch, LibtorchError> {
        let path = path.to_path_buf();
        if !path.join("lib/libtorch_cpu.so").exists() {
            return Err(LibtorchError::NotOne { path });
        }
        match version(&path) {
            Some(found) if found != LIBTORCH_VERSION => {
                return Err(LibtorchError::Version { path, found });
            }
            // Without a version file the trainer's own check at start has the last word.
            Some(_) | None => {}
        }
        if cuda && !path.join("lib/libtorch_cuda.so").exists() {
            return Err(LibtorchError::NoCuda { path });
        }
        Ok(Libtorch { root: path })
    }

    fn usable(root: PathBuf, cuda: bool) -> Option<Libtorch> {
        if !root.join("lib").is_dir() {
            return None;
        }
        match Libtorch::named(&root, cuda) {
            Ok(libtorch) => Some(libtorch),
            Err(error) => {
                tracing::debug!(path = %root.display(), "libtorch is passed over: {error}");
                None
            }
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The child's LD_LIBRARY_PATH: this libtorch, the NVIDIA wheels beside it where it is
    /// Python's, then what the agent itself was started with.
    pub fn library_path(&self) -> OsString {
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        let mut folders = vec![root.join("lib")];
        let nvidia = root.parent().map(|packages| packages.join("nvidia"));
        let wheels = nvidia.and_then(|path| fs::read_dir(path).ok());
        let wheels = wheels.into_iter().flatten().flatten().map(|entry| entry.path().join("lib"));
        let mut wheels = wheels.filter(|path| path.is_dir()).collect::<Vec<_>>();
        wheels.sort();
        folders.extend(wheels);
        let inherited = env::var_os("LD_LIBRARY_PATH").filter(|path| !path.is_empty());
        folders.extend(inherited.iter().flat_map(env::split_paths));
        // A folder with a colon in its name cannot be in the list at all.
        folders.retain(|folder| !folder.as_os_str().as_encoded_bytes().contains(&b':'));
        env::join_paths(folders).expect("no folder has the separator in its name")
    }
}

/// The version without its build suffix, where a file tells it.
fn version(root: &Path) -> Option<String> {
    let text = match fs::read_to_string(root.join("build-version")) {
        Ok(text) => text.lines().next()?.trim().to_owned(),
        Err(_) => {
            let text = fs::read_to_string(root.join("version.py")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
            line.trim().trim_matches(['\'', '"']).to_owned()
        }
    };
    Some(text.split('+').next().unwrap_or_default().to_owned())
}

/// The folder of Python's torch, if that is of the right version.
fn python_torch(python: &Path) -> Option<PathBuf> {
    let mut command = Command::new(python);
    command.args(["-c", PYTHON_CODE]);
    let output = output_within(command, PYTHON_WAIT)?;
    let mut lines = output.lines();
    let version = lines.next()?.trim().split('+').next()?;
    let root = lines.next()?.trim();
    (version == LIBTORCH_VERSION).then(|| PathBuf::from(root))
}

/// What a command prints; none where it fails or takes longer.
fn output_within(mut command: Command, wait: Duration) -> Option<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        // The receiver is gone where it took too long.
        let _ = sender.send(read.map(|_| text));
    });
    let output = receiver.recv_timeout(wait);
    if output.is_err() {
        tracing::warn!("python3 did not say within {wait:?} where torch lies");
        // It may just have ended; the wait below reaps it in any case.
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    output.ok()?.ok().filter(|_| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by another process: a descriptor that is open for writing here could be inherited
    /// by what another test starts, and the system refuses to run a program that is written to.
    fn program(path: &Path, text: &str) {
        let write = "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let mut shell = Command::new("sh");
        let status = shell.args(["-c", write, "sh", text]).arg(path).status();
        assert!(status.expect("a shell").success());
    }

    fn libtorch(root: &Path, version_file: Option<(&str, &str)>, libraries: &[&str]) {
        fs::create_dir_all(root.join("lib")).expect("created");
        for library in libraries {
            fs::write(root.join("lib").join(library), "").expect("written");
        }
        if let Some((name, text)) = version_file {
            fs::write(root.join(name), text).expect("written");
        }
    }

    fn places(below: &Path) -> Places {
        let python = below.join("no-python");
        Places { named: None, project_below: vec![below.into()], python }
    }

    const CPU: &[&str] = &["libtorch_cpu.so"];
    const CUDA: &[&str] = &["libtorch_cpu.so", "libtorch_cuda.so"];

    #[test]
    fn what_libtorch_names_is_taken_or_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("torch");
        let mut places = places(folder.path());
        places.named = Some(root.clone());
        let error = |cuda| places.find(cuda).expect_err("refused").to_string();
        assert!(error(false).contains("has no lib/libtorch_cpu.so"));
        libtorch(
            &root,
            Some(("version.py", "from x import y\n__version__ = '2.9.1+cu128'\n")),
            CPU,
        );
        assert!(error(false).contains("is libtorch 2.9.1; 2.11.0 is needed"));
        libtorch(&root, Some(("build-version", "2.11.0+cpu\n")), CPU);
        assert_eq!(places.find(false).expect("found").root(), root);
        assert!(error(true).contains("no lib/libtorch_cuda.so"));
    }

    #[test]
    fn the_projects_own_folder_is_found_upwards_and_must_fit() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("a/target/release");
        fs::create_dir_all(&below).expect("created");
        let places = places(&below);
        let text = places.find(false).expect_err("absent").to_string();
        for named in ["LIBTORCH", ".libtorch", "python3", "make libtorch", "2.11.0"] {
            assert!(text.contains(named), "{named}: {text}");
        }
        let near = folder.path().join("a/.libtorch");
        libtorch(&near, Some(("build-version", "2.10.0")), CPU);
        let far = folder.path().join(".libtorch");
        libtorch(&far, Some(("build-version", "2.11.0")), CPU);
        assert_eq!(places.find(false).expect("found").root(), far);
        let text = places.find(true).expect_err("no CUDA").to_string();
        assert!(text.contains("with CUDA"), "{text}");
        libtorch(&far, None, CUDA);
        assert_eq!(places.find(true).expect("found").root(), far);
    }

    #[test]
    fn pythons_torch_comes_last_with_the_wheels_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let packages = folder.path().join("site-packages");
        libtorch(
            &packages.join("torch"),
            Some(("version.py", "__version__ = '2.11.0+cu130'")),
            CUDA,
        );
        fs::create_dir_all(packages.join("nvidia/nccl/lib")).expect("created");
        fs::create_dir_all(packages.join("nvidia/cu13/lib")).expect("created");
        let mut places = places(folder.path());
        places.python = folder.path().join("python3");
        let torch = packages.join("torch");
        for (version, found) in [("2.10.0", false), ("2.11.0", true)] {
            let script = format!("#!/bin/sh\necho {version}; echo '{}'\n", torch.display());
            program(&places.python, &script);
            assert_eq!(places.find(true).is_ok(), found, "{version}");
        }
        let libtorch = places.find(true).expect("found");
        let path = libtorch.library_path();
        let folders = env::split_paths(&path).take(3).collect::<Vec<_>>();
        let packages = packages.canonicalize().expect("exists");
        let expected =
            ["torch/lib", "nvidia/cu13/lib", "nvidia/nccl/lib"].map(|p| packages.join(p));
        assert_eq!(folders, expected);
    }

    #[test]
    fn a_python_that_hangs_is_not_waited_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "exec sleep 600"]);
        assert_eq!(output_within(command, Duration::from_millis(50)), None);
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; exit 1"]);
        assert_eq!(output_within(command, PYTHON_WAIT), None);
    }
}
