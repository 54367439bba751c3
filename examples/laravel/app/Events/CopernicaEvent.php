<?php

namespace App\Events;

/** An event from Copernica, for your listeners. What they write into the database counts only if none of them fails. */
class CopernicaEvent
{
    /**
     * @param  string  $id  the delivery id: the same call always has the same one
     * @param  array<string, mixed>  $fields  as Copernica sent them: `type`, `id`, `time`, `recipient`, …
     */
    public function __construct(public readonly string $id, public readonly array $fields)
    {
    }

    /** What happened: `open`, `click`, …; the Publisher's callbacks say it in `action`. */
    public function type(): string
    {
        $type = $this->fields['type'] ?? $this->fields['action'] ?? null;

        return is_string($type) ? $type : 'unknown';
    }
}
