"""What we need from outside, as Protocols with their promises."""
