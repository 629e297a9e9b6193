//! Images: names, a content-addressed store, and the ways in and out of it.
