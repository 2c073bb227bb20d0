"""Simulated nodes: thousands of them in one process, by one engine instead of an agent for each.

    behaviour   what an annotation says a container does          life      one pod's life by the agent's own rules
    stages      lives written as kwok's Stages                    machines  what a simulated node says of itself
    template, query  the languages that Stages are written in     engine    the watches, timers and writes of all
    api         what the API server asks the nodes: logs, figures

Everything but `engine` and `api` is pure. See docs/design/simulation.md.
"""
