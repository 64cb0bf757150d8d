"""What becomes of poller when it dies at any moment: the real commands, killed, restarted and compared.

    python -m tests.kills --kills 2000          killed at every named point, then at random moments
    python -m tests.kills.failures              every database call and every HTTP read fails once
    python -m tests.kills.stop --runs 200       how long it takes to end when it is asked to

`points` names the moments between two side effects, `victim` is `poller` with an eye on them, `zygote` forks victims,
`scenario` says what they do and what must come of it, `databases` keeps the databases they do it to.
"""
