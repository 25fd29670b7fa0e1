//! A bot that echoes what others write. Run it with a name, and its password in KLATSCH_PASSWORD:
//! `cargo run -p client --example echo -- http://127.0.0.1:8080 echo`

use client::{Client, ClientError, Secret};

/// Echoes messages until the client stops for good.
pub(crate) async fn echo(url: &str, name: &str, password: &Secret) -> Result<(), ClientError> {
    let mut bot = Client::sign_in(url, name, password).await?;
    loop {
        let event = bot.next().await;
        if event.is_end() {
            return Ok(());
        }
        if let Some(said) = event.message().filter(|said| said.author != bot.identity().user) {
            bot.reply(said.conversation, said.id, said.body.reveal())?;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("echo URL NAME, with the password in KLATSCH_PASSWORD".into());
    };
    Ok(echo(&url, &name, &Secret::new(std::env::var("KLATSCH_PASSWORD")?)).await?)
}
