"""Publish a course lesson as soon as its Mux video can be played.

Read in this order, about 500 lines: `model` (the terms), `decide` (what each fact means),
`scan.scanner` (one scan), then `sql/007_settle.sql` (what a verdict does).

    cli            one module for each command
    app            the composition root: the only module that builds the parts
    monitoring     connects liveness and the HTTP server to the daemon
    doctor/        is everything in place?
    web/           the HTTP server: health, metrics, webhooks/, dashboard/
    backfill/      adopt and publish what is older than the worker
    mux/           the only package that talks to Mux
    supabase/      the only package that talks to Supabase
    scan/          one scan: claim, observe, decide, settle
    daemon/        repeats scans, through outages
    shutdown       signals, and how long the process may take to end
    telemetry/     logs, metrics, scan history, liveness
    decide         what an observation means; `backoff`: when to check again
    settings       every setting; `network`: proxies and certificates; `project_url`
    model          the terms as frozen types, with `lesson`
    wording        every reason and error type in a sentence; `text`: foreign text made safe
    errors         the exceptions

A package imports only from below; `mux` and `supabase` never import each other. A webhook, a page
of a list and a single request all end in an observation, and every observation takes the same road:
`decide`, then one SQL function that settles it.
"""

__version__ = "0.1.0"
