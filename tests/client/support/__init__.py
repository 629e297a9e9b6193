"""What the tests of the public client stand on."""
