<?php
// Work that writes down what it is given, and fails when it is told to.
declare(strict_types=1);

function handle(string $id, array $event): void
{
    if (is_file(getenv('FAIL_FILE'))) {
        throw new RuntimeException('The work fails: é' . str_repeat('x', 2000));
    }
    $line = json_encode(['id' => $id, 'event' => $event], JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR);
    file_put_contents(getenv('EVENTS_FILE'), "$line\n", FILE_APPEND | LOCK_EX);
}
