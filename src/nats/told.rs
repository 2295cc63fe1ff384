//! What the room is told while it runs: routes and backpressure of a configuration that was read
//! again.

use std::sync::Arc;

use super::requester::Requester;
use crate::settings::{BackpressureSettings, NatsSettings};

impl Requester {
    /// Takes the newest word. What is sent from now on goes by it; what was sent stays as it is.
    #[cold]
    pub(super) fn take_news(&mut self) {
        // In this order: a word that comes in between is taken now and once more.
        self.heard = self.news.version();
        let told = self.news.told();
        self.desk.set_routes(Arc::clone(&told.routes));
        self.routes = told.routes;
        let settings = told.backpressure;
        self.set_backpressure(settings);
    }

    fn set_backpressure(&mut self, told: Option<BackpressureSettings>) {
        let settings = told.unwrap_or_else(|| self.settings.backpressure.clone());
        self.backpressure.renew(settings.clone(), &self.routes);
        if settings == self.settings.backpressure {
            return;
        }
        let is_heard = settings.subject == self.settings.backpressure.subject;
        self.settings = Arc::new(NatsSettings {
            backpressure: settings,
            ..NatsSettings::clone(&self.settings)
        });
        self.pool.set_settings(Arc::clone(&self.settings));
        if !is_heard {
            // A connection subscribes when it is made, so others take the place of those that
            // there are; each ends when everything on it is completed.
            self.pool.replace_connections();
        }
    }
}
