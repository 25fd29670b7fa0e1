//! The routes of a service: each is named once, in its resource's file, and both the router and the table that tests
//! compare with the documents follow from that.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};

/// Routes with their handlers. `S` is the state of the service.
#[derive(Debug)]
pub struct Routes<S> {
    router: Router<S>,
    table: Vec<(&'static str, &'static str)>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self { router: Router::new(), table: Vec::new() }
    }

    /// Adds the handler of `GET` for that path.
    #[must_use]
    pub fn get<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(("GET", MethodFilter::GET), path, handler)
    }

    /// Adds the handler of `POST` for that path.
    #[must_use]
    pub fn post<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(("POST", MethodFilter::POST), path, handler)
    }

    /// Adds the handler of `PUT` for that path.
    #[must_use]
    pub fn put<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(("PUT", MethodFilter::PUT), path, handler)
    }

    /// Adds the handler of `PATCH` for that path.
    #[must_use]
    pub fn patch<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(("PATCH", MethodFilter::PATCH), path, handler)
    }

    /// Adds the handler of `DELETE` for that path.
    #[must_use]
    pub fn delete<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(("DELETE", MethodFilter::DELETE), path, handler)
    }

    /// These routes and the others.
    ///
    /// # Panics
    /// When both have the same method for the same path.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.table.extend(other.table);
        Self { router: self.router.merge(other.router), table: self.table }
    }

    /// Method and path of every route.
    #[must_use]
    pub fn table(&self) -> &[(&'static str, &'static str)] {
        &self.table
    }

    /// The router that serves them.
    pub fn router(self) -> Router<S> {
        self.router
    }

    fn add<T: 'static>(
        mut self,
        (name, method): (&'static str, MethodFilter),
        path: &'static str,
        handler: impl Handler<T, S>,
    ) -> Self {
        self.table.push((name, path));
        Self { router: self.router.route(path, on(method, handler)), table: self.table }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}
