<?php

return [
    'default' => 'sqlite', 'migrations' => 'migrations',
    'connections' => ['sqlite' => ['driver' => 'sqlite', 'database' => getenv('DB_FILE'), 'prefix' => '']],
];
