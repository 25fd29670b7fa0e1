//! The privacy settings of an account: what others may know of its user. A change is announced by an account event, so
//! that every node which knows the settings forgets them.

use api::{ApiError, Json, Routes};
use axum::extract::{Extension, State};
use domain::UserId;
use events::AccountEvent;
use process::TraceParent;
use protocol::{ErrorCode, PrivacyBody, PrivacyChange};
use store::{Audience, Privacy, PrivacyUpdate};

use crate::app::{App, store_failed};
use crate::client::LimitedCaller;

pub(crate) fn routes() -> Routes<App> {
    Routes::new().get("/v1/users/me/privacy", show).patch("/v1/users/me/privacy", change)
}

async fn show(State(app): State<App>, LimitedCaller(caller): LimitedCaller) -> Result<Json<PrivacyBody>, ApiError> {
    let privacy = app.store.privacy(caller.user).await.map_err(store_failed)?;
    Ok(Json(body(privacy)))
}

async fn change(
    State(app): State<App>,
    Extension(trace): Extension<TraceParent>,
    LimitedCaller(caller): LimitedCaller,
    Json(wish): Json<PrivacyChange>,
) -> Result<Json<PrivacyBody>, ApiError> {
    let privacy = app.change_privacy(caller.user, wish, trace).await?;
    Ok(Json(body(privacy)))
}

fn body(Privacy { presence, invisible }: Privacy) -> PrivacyBody {
    PrivacyBody { presence: presence.name().to_owned(), invisible }
}

impl App {
    async fn change_privacy(&self, user: UserId, wish: PrivacyChange, trace: TraceParent) -> Result<Privacy, ApiError> {
        let account = self.store.account(user).await.map_err(store_failed)?;
        let account = account.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is no such user"))?;
        let unknown = || ApiError::new(ErrorCode::Invalid, "'presence' is 'everyone' or 'nobody'");
        let presence = wish.presence.map(|name| Audience::from_name(&name).ok_or_else(unknown)).transpose()?;
        let change = PrivacyUpdate { presence, invisible: wish.invisible };
        // First the row: whoever hears of the change reads it. A change that is not announced is asked for again, because
        // this call fails.
        self.store.set_privacy(user, change).await.map_err(store_failed)?;
        self.outbox.add(&account, &AccountEvent::PrivacyChanged, trace).await.map_err(store_failed)?;
        self.store.privacy(user).await.map_err(store_failed)
    }
}
