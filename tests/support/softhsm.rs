//! A token of SoftHSM2 in a temporary folder, which the programs under test use by its real module.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::program::{Said, run};
use crate::skip;

/// Where distributions put the module; `$SOFTHSM2_MODULE` goes before them.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Where OpenSC's module lies that writes down every call and hands it on; `$PKCS11_SPY_MODULE` goes before them.
const SPIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so",
    "/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11-spy.so",
    "/usr/lib64/pkcs11/pkcs11-spy.so",
];

/// The PIN of every token.
pub const PIN: &str = "746352";

/// The label of the token.
pub const LABEL: &str = "acme hsm";

/// A token; gone when it is dropped.
pub struct Token {
    folder: TempDir,
    module: PathBuf,
    spy: PathBuf,
}

impl Token {
    /// A fresh token with nothing in it.
    ///
    /// `None` where SoftHSM2 or OpenSC's `pkcs11-tool` is not installed, said loudly: the tests show nothing then.
    #[must_use]
    pub fn new() -> Option<Self> {
        let find = |variable: &str, places: &[&str]| {
            let named = std::env::var_os(variable).map(PathBuf::from);
            named.into_iter().chain(places.iter().map(PathBuf::from)).find(|path| path.is_file())
        };
        let (module, spy) = (find("SOFTHSM2_MODULE", &MODULES), find("PKCS11_SPY_MODULE", &SPIES));
        let tool = |name: &str| {
            let asked = Command::new(name).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
            asked.is_ok()
        };
        let tools = tool("softhsm2-util") && tool("pkcs11-tool");
        let (Some(module), Some(spy), true) = (module, spy, tools) else {
            skip::skipped("SoftHSM2 and pkcs11-tool (packages softhsm2 and opensc)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tokens")).unwrap();
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            folder.path().join("tokens").display()
        );
        fs::write(folder.path().join("softhsm2.conf"), conf).unwrap();
        let token = Self { folder, module, spy };
        token.initialise(LABEL);
        token.write_pin("pin", PIN);
        Some(token)
    }

    /// Makes one more token beside the first.
    pub fn initialise(&self, label: &str) {
        let mut util = Command::new("softhsm2-util");
        let arguments = ["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "12345678"];
        run(self.known_to(&mut util), arguments).expect(0);
    }

    /// Tells a program where the tokens are, and the module that writes calls down where to.
    pub fn known_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("SOFTHSM2_CONF", self.file("softhsm2.conf"))
            .env("PKCS11SPY", &self.module)
            .env("PKCS11SPY_OUTPUT", self.file("calls"))
    }

    /// The module, a shared library.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// A file beside the tokens.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file with a PIN that nobody else can read.
    pub fn write_pin(&self, name: &str, pin: &str) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, format!("{pin}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The URI of a key, without where its PIN is.
    #[must_use]
    pub fn uri_without_pin(&self, object: &str) -> String {
        let label = LABEL.replace(' ', "%20");
        format!("pkcs11:token={label};object={object}?module-path={}", self.module.display())
    }

    /// The URI of a key.
    #[must_use]
    pub fn uri(&self, object: &str) -> String {
        format!("{}&pin-source=file:{}", self.uri_without_pin(object), self.file("pin").display())
    }

    /// The same, with every call written down.
    #[must_use]
    pub fn watched(&self, uri: &str) -> String {
        uri.replace(self.module.to_str().unwrap(), self.spy.to_str().unwrap())
    }

    /// How often a call was made by URIs that are watched.
    #[must_use]
    pub fn calls(&self, name: &str) -> usize {
        let calls = fs::read_to_string(self.file("calls")).unwrap();
        calls.lines().filter(|line| line.trim_end().ends_with(&format!(": {name}"))).count()
    }

    /// Runs OpenSC's `pkcs11-tool`, logged in.
    #[must_use]
    pub fn tool(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
        let mut tool = Command::new("pkcs11-tool");
        tool.arg("--module").arg(&self.module).args(["--token-label", LABEL, "--login", "--pin", PIN]);
        run(self.known_to(&mut tool), arguments)
    }

    /// Takes the token away, as if it were pulled out while its users run.
    pub fn take_away(&self) {
        fs::rename(self.file("tokens"), self.file("away")).unwrap();
    }

    /// Puts it back.
    pub fn bring_back(&self) {
        fs::rename(self.file("away"), self.file("tokens")).unwrap();
    }
}
