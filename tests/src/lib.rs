//! Checks on the whole. `tidy` holds the map true; `e2e` is in Python, with clients that are not ours.
