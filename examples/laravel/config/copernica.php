<?php

return [
    // The same as the ingester's INGEST_FORWARD_SECRET. While you change it, both: whsec_new…,whsec_old…
    'secrets' => env('INGEST_FORWARD_SECRET', ''),

    // The path of the route.
    'path' => env('COPERNICA_PATH', 'copernica'),
];
