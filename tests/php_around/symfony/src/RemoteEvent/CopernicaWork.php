<?php

namespace App\RemoteEvent;

use Symfony\Component\RemoteEvent\RemoteEvent;

/** Work that writes down what it is given, and fails when it is told to. */
class CopernicaWork
{
    public function handle(RemoteEvent $event): void
    {
        if (is_file(getenv('FAIL_FILE'))) {
            throw new \RuntimeException('The work fails.');
        }
        $line = ['id' => $event->getId(), 'name' => $event->getName(), 'event' => $event->getPayload()];
        $line = json_encode($line, \JSON_INVALID_UTF8_SUBSTITUTE);
        file_put_contents(getenv('EVENTS_FILE'), "$line\n", \FILE_APPEND | \LOCK_EX);
    }
}
