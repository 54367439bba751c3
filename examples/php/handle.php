<?php
// Your own work, once for each event. Whatever it throws, the event is tried again later.
declare(strict_types=1);

function handle(string $id, array $event): void
{
    $line = json_encode(['id' => $id, 'event' => $event], JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR);
    $file = getenv('EVENTS_FILE') ?: __DIR__ . '/events.jsonl';
    if (file_put_contents($file, "$line\n", FILE_APPEND | LOCK_EX) === false) {
        throw new RuntimeException("$file cannot be written.");
    }
}
