<?php

namespace App\RemoteEvent;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\Exception\UniqueConstraintViolationException;
use Symfony\Component\RemoteEvent\Attribute\AsRemoteEventConsumer;
use Symfony\Component\RemoteEvent\Consumer\ConsumerInterface;
use Symfony\Component\RemoteEvent\RemoteEvent;

/** Hands each event to your own work, once: its id and what the work writes are committed together. */
#[AsRemoteEventConsumer('copernica')]
final class CopernicaConsumer implements ConsumerInterface
{
    public function __construct(private readonly Connection $connection, private readonly CopernicaWork $work)
    {
    }

    public function consume(RemoteEvent $event): void
    {
        $this->connection->beginTransaction();
        try {
            $this->connection->insert('copernica_calls', ['id' => $event->getId(), 'done_at' => time()]);
            $this->work->handle($event);
            $this->connection->commit();
        } catch (\Throwable $error) {
            $this->connection->rollBack();
            if (!$error instanceof UniqueConstraintViolationException || !$this->isDone($event)) {
                throw $error;  // Messenger tries again
            }
        }
    }

    private function isDone(RemoteEvent $event): bool
    {
        return false !== $this->connection->fetchOne('SELECT id FROM copernica_calls WHERE id = ?', [$event->getId()]);
    }
}
