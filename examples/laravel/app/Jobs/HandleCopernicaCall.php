<?php

namespace App\Jobs;

use App\Events\CopernicaEvent;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Bus\Dispatchable;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Support\Facades\DB;
use RuntimeException;

/** Hands one call to the listeners of `CopernicaEvent`, once, however many jobs there are for it. */
class HandleCopernicaCall implements ShouldQueue
{
    use Dispatchable, InteractsWithQueue, Queueable;

    public int $tries = 10;

    /** Seconds before the next attempts. */
    public array $backoff = [60, 300, 900, 3600];

    public function __construct(private readonly string $id)
    {
    }

    public function handle(): void
    {
        DB::transaction(function () {
            $calls = DB::table('copernica_calls')->where('id', $this->id)->whereNull('handled_at');
            $call = (clone $calls)->lockForUpdate()->first();
            if ($call === null) {
                return;  // another job has handled it
            }
            event(new CopernicaEvent($this->id, self::fields($call->content_type, base64_decode($call->body))));
            $calls->update(['handled_at' => now()]);
        });
    }

    /** The fields of a body, as PHP would have them in $_POST. */
    private static function fields(string $contentType, string $body): array
    {
        if (stripos($contentType, 'json') !== false) {
            $flags = JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING | JSON_INVALID_UTF8_SUBSTITUTE;

            return (array) json_decode($body, true, 512, $flags);
        }
        if (substr_count($body, '&') >= (int) ini_get('max_input_vars')) {
            throw new RuntimeException('The form has more fields than max_input_vars in php.ini: PHP would drop some.');
        }
        parse_str($body, $fields);

        return $fields;
    }
}
