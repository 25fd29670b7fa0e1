//! `change_title`: changes the title of a group.

use super::prelude::*;
use crate::Settings;
use crate::limits::TITLE_BYTES_MAX;

/// Changes a group's title. The author must be the owner or an admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeTitle {
    /// The new title; empty for none.
    pub title: String,
}

impl EventKind for ChangeTitle {
    fn kind(&self) -> Kind {
        Kind::ChangeTitle
    }

    fn about(&self) -> About<'_> {
        About {
            target: Target::None,
            audience: Audience::Members,
            taken_in: &[],
            title: Some(&self.title),
            text_bytes: self.title.len(),
        }
    }

    fn check(&self, _author: UserId) -> Result<(), String> {
        input::label("title", &self.title, TITLE_BYTES_MAX)
    }

    fn judge(&self, at: &Context<'_>) -> Result<Vec<Change>, Refusal> {
        let settings = at.group_admin(at.member()?)?;
        at.title_fits(&self.title)?;
        if settings.title == self.title {
            return Err(Refusal::Already);
        }
        let settings = Settings { title: self.title.clone(), ..settings.clone() };
        Ok(vec![Change::Settings(settings), at.entry(Content::Title(self.title.clone()))])
    }

    fn stands(&self, _slot: u64) -> Stands {
        Stands::Command
    }

    fn hash(&self, input: &mut HashInput) {
        input.text(&self.title);
    }

    fn samples() -> Vec<Self> {
        vec![Self { title: String::new() }]
    }
}
