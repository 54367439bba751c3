<?php

namespace App\Providers;

use App\Events\CopernicaEvent;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Event;
use Illuminate\Support\ServiceProvider;

/** A listener that writes down what it is given, and fails when it is told to. */
class TestServiceProvider extends ServiceProvider
{
    public function boot(): void
    {
        Event::listen(CopernicaEvent::class, function (CopernicaEvent $event): void {
            if (is_file(getenv('FAIL_FILE'))) {
                throw new \RuntimeException('The listener fails.');
            }
            $line = json_encode(['id' => $event->id, 'event' => $event->fields], JSON_INVALID_UTF8_SUBSTITUTE);
            file_put_contents(getenv('EVENTS_FILE'), "$line\n", FILE_APPEND | LOCK_EX);
        });
    }
}
