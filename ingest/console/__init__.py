"""The console: pages in a browser that show what is going on, and from which people act.

A process of its own (`ingest console`), which reads the store, Redis and the reports that processes give, and acts
through the same functions as the command line. It never runs inside the endpoint, so it cannot slow that down.

    listening   where it listens
    server      serves, and stops
    app         the application: its routes, and what each answer has to have
    access      who is looking, and what they may do
    reading     the store and Redis, asked in threads
    rendering   templates, in the visitor's language
    texts       translations
    assets      style sheets and scripts, kept in memory
    live        server-sent events
    tasks       what takes long: in a thread, watched, stopped
    pages       a module per page, or per pages that belong together
"""
