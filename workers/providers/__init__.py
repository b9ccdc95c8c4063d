"""Models that run elsewhere: each provider speaks to one kind of server and answers like the local engine."""
