//! `klatschctl chat` in a terminal of 80 columns, used by two people (issue 10, item 16).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use testkit::programs::{Single, executable};
use tokio::time::{Instant, sleep};

/// The longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the screen is checked.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const COLUMNS: u16 = 80;
const LEFT: &str = "\x1b[D";
const UP: &str = "\x1b[A";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

/// A pseudo-terminal with a program in it.
struct Terminal {
    keyboard: File,
    /// The program's end of the pseudo-terminal.
    line: OwnedFd,
    /// All bytes that the program has written.
    written: Arc<Mutex<Vec<u8>>>,
    program: Child,
}

impl Terminal {
    fn start(mut command: Command) -> Result<Self> {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&keyboard)?;
        unlockpt(&keyboard)?;
        let line = rustix::fs::open(ptsname(&keyboard, Vec::new())?, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        tcsetwinsize(&line, Winsize { ws_row: 24, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 })?;
        let end = || line.try_clone();
        let program = command.stdin(end()?).stdout(end()?).stderr(end()?).spawn()?;
        let keyboard = File::from(keyboard);
        let (mut screen, written) = (keyboard.try_clone()?, Arc::<Mutex<Vec<u8>>>::default());
        let all = Arc::clone(&written);
        thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count) = screen.read(&mut some) {
                all.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&some[..count]);
            }
        });
        Ok(Self { keyboard, line, written, program })
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The lines on the screen, including those that have scrolled off its top.
    fn lines(&self) -> Vec<String> {
        let mut screen = Screen::default();
        screen.show(&self.raw());
        screen.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    /// Waits until a line on the screen contains this text.
    async fn until(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.lines().iter().any(|line| line.contains(text)) {
            ensure!(Instant::now() < deadline, "'{text}' does not come:\n{}", self.lines().join("\n"));
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Checks that exactly one line contains this text.
    fn once(&self, text: &str) -> Result<()> {
        let lines = self.lines();
        let count = lines.iter().filter(|line| line.contains(text)).count();
        ensure!(count == 1, "'{text}' stands there {count} times:\n{}", lines.join("\n"));
        Ok(())
    }

    async fn ended(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.program.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "it does not end:\n{}", self.lines().join("\n"));
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The program may have ended already.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// An emulation of the terminal functions that the line editor uses.
#[derive(Default)]
struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    fn show(&mut self, text: &str) {
        let mut keys = text.chars().peekable();
        while let Some(key) = keys.next() {
            match key {
                '\r' => self.column = 0,
                '\n' => self.row += 1,
                '\x08' => self.column = self.column.saturating_sub(1),
                '\x1b' if keys.next_if_eq(&'[').is_some() => {
                    let mut number = String::new();
                    while let Some(digit) = keys.next_if(|key| matches!(key, '0'..='9' | ';' | '?')) {
                        number.push(digit);
                    }
                    self.control(keys.next().unwrap_or_default(), number.parse().ok());
                }
                key if key.is_control() => {}
                key => self.put(key),
            }
        }
    }

    fn control(&mut self, what: char, number: Option<usize>) {
        let count = number.unwrap_or(1);
        match what {
            'A' => self.row = self.row.saturating_sub(count),
            'B' => self.row += count,
            'C' => self.column += count,
            'D' => self.column = self.column.saturating_sub(count),
            'K' => {
                let from = if number == Some(2) { 0 } else { self.column };
                self.line().truncate(from);
            }
            'J' => {
                let column = self.column;
                self.line().truncate(column);
                self.rows.truncate(self.row + 1);
            }
            // Colours and modes do not change the text.
            _ => {}
        }
    }

    fn line(&mut self) -> &mut Vec<char> {
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
        &mut self.rows[self.row]
    }

    fn put(&mut self, key: char) {
        if self.column >= usize::from(COLUMNS) {
            (self.row, self.column) = (self.row + 1, 0);
        }
        let column = self.column;
        let line = self.line();
        if line.len() <= column {
            line.resize(column + 1, ' ');
        }
        line[column] = key;
        self.column += 1;
    }
}

async fn chat(url: &str, folder: &Path, name: &str, with: &str) -> Result<Command> {
    let mut command = Command::new(executable("klatschctl").await?);
    command.args(["chat", "--url", url, "--name", name, "--register", "--with", with]);
    for variable in ["NO_COLOR", "KLATSCH_PASSWORD", "KLATSCH_LOG", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm").env("XDG_CONFIG_HOME", folder);
    Ok(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_talk_at_their_terminals() -> Result<()> {
    let mut single = Single::new().await?;
    single.program.start().await?;
    let (url, folder) = (single.program.url(), tempfile::tempdir()?);
    let mut command = chat(&url, folder.path(), "bob", "ann").await?;
    command.env("NO_COLOR", "1").env("KLATSCH_PASSWORD", "bobs own password");
    let mut bob = Terminal::start(command)?;
    bob.until("-- nobody is called ann yet: waiting 5:00 for them to register").await?;

    let mut ann = Terminal::start(chat(&url, folder.path(), "ann", "bob").await?)?;
    ann.until("password of ann:").await?;
    ann.press("anns own password\r")?;
    ann.until("ann>").await?;
    ensure!(!ann.raw().contains("anns own password"), "the password is shown");
    bob.until("bob>").await?;

    // A missing letter is inserted; the sent message is shown once, with its number.
    ann.press(&format!("hello bb{LEFT}o\r"))?;
    ann.until("ann: hello bob").await?;
    bob.until("ann: hello bob").await?;
    ann.once("hello bob")?;

    // A message that arrives while a line is being typed is shown above that line.
    ann.press("half a li")?;
    ann.until("ann> half a li").await?;
    bob.press("/reply 1 hi ann\r")?;
    ann.until("bob: (to #1) hi ann").await?;
    ann.until("ann> half a li").await?;
    let lines = ann.lines();
    let place = |end: &str| lines.iter().position(|line| line.ends_with(end));
    ensure!(place("hi ann") < place("ann> half a li"), "{}", lines.join("\n"));
    ann.press("ne\r")?;
    ann.until("ann: half a line").await?;
    ann.once("half a line")?;

    // A line longer than the screen is wide; earlier lines can be recalled.
    let long = format!("it begins {}and ends", "and goes on ".repeat(10));
    bob.press(&format!("{long}\r"))?;
    bob.until("and ends").await?;
    bob.once("it begins")?;
    ann.press(UP)?;
    ann.until("ann> half a line").await?;

    // Refused commands get a message at once.
    for (line, answer) in [
        ("/add nobody", "!! nobody is called nobody"),
        ("/role ann king", "!! /role needs a name, and 'member', 'admin' or 'owner'"),
        ("/edit 1 not mine", "!! not accepted: the message is another author's: only who has written it"),
        ("/leave it", "!! /leave stands alone"),
    ] {
        bob.press(&format!("{line}\r"))?;
        bob.until(answer).await?;
    }
    ensure!(!bob.raw().contains("\x1b[1m") && !bob.raw().contains("\x1b[31m"), "bob wants no colours");
    ensure!(ann.raw().contains("\x1b[1mann:\x1b[0m"), "ann has colours");

    bob.press(CTRL_D)?;
    ensure!(bob.ended().await?.code() == Some(1), "something was not accepted");
    ann.press(CTRL_C)?;
    ensure!(ann.ended().await?.success(), "Ctrl-C is an end like another");
    for terminal in [&ann, &bob] {
        let modes = tcgetattr(&terminal.line)?.local_modes;
        ensure!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "the terminal is left as the editor needs it");
    }
    single.program.stop().await
}

/// Issue 10, item 16: a user who waits for a mistyped name can leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_nobody_can_go() -> Result<()> {
    let mut single = Single::new().await?;
    single.program.start().await?;
    let folder = tempfile::tempdir()?;
    let mut command = chat(&single.program.url(), folder.path(), "bob", "nobody").await?;
    command.env("KLATSCH_PASSWORD", "bobs own password");
    let mut bob = Terminal::start(command)?;
    bob.until("-- nobody is called nobody yet: waiting 5:00 for them to register").await?;
    bob.until("bob>").await?;
    bob.press(CTRL_C)?;
    let code = bob.ended().await?.code().context("it was killed")?;
    if code != 69 {
        bail!("it ended with {code}");
    }
    single.program.stop().await
}
