"""Black-box harness: real servers, a real engine, and clients that deckwatch's authors did not write."""
