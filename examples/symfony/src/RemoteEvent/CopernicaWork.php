<?php

namespace App\RemoteEvent;

use Psr\Log\LoggerInterface;
use Symfony\Component\RemoteEvent\RemoteEvent;

/** Your own work, once for each event. Whatever it throws, the event is tried again later. */
class CopernicaWork
{
    public function __construct(private readonly LoggerInterface $logger)
    {
    }

    public function handle(RemoteEvent $event): void
    {
        $this->logger->info('Copernica: {type} of {recipient}', [
            'type' => $event->getName(),
            'recipient' => $event->getPayload()['recipient'] ?? 'nobody',
        ]);
    }
}
