<?php
// Where the calls are kept, and the secret that they are signed with. Write the values here if your host has no
// environment variables; this file is outside the folder that the web server shows.
return [
    // The same as the ingester's INGEST_FORWARD_SECRET. While you change it, both: whsec_new…,whsec_old…
    'secrets' => getenv('INGEST_FORWARD_SECRET') ?: '',
    'dsn' => getenv('CALLS_DSN') ?: 'sqlite:' . __DIR__ . '/calls.db',  // or mysql:host=localhost;dbname=shop
    'user' => getenv('CALLS_USER') ?: null,
    'password' => getenv('CALLS_PASSWORD') ?: null,
];
