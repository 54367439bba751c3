<?php

namespace App\Webhook;

use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\RequestMatcher\MethodRequestMatcher;
use Symfony\Component\HttpFoundation\RequestMatcherInterface;
use Symfony\Component\HttpKernel\Exception\ServiceUnavailableHttpException;
use Symfony\Component\RemoteEvent\RemoteEvent;
use Symfony\Component\Webhook\Client\AbstractRequestParser;
use Symfony\Component\Webhook\Exception\RejectWebhookException;

/**
 * Makes a remote event of each call that our own ingester has signed a short time ago, by the rules of Standard
 * Webhooks. Its name is Copernica's `type`, its id the delivery id, its payload the fields.
 */
final class CopernicaRequestParser extends AbstractRequestParser
{
    /** Seconds by which the clocks of the ingester and of this machine may differ. */
    private const TOLERANCE = 300;

    protected function getRequestMatcher(): RequestMatcherInterface
    {
        return new MethodRequestMatcher('POST');
    }

    protected function doParse(Request $request, #[\SensitiveParameter] string $secret): RemoteEvent
    {
        $keys = self::keys($secret);
        if ([] === $keys) {  // the ingester tries again later
            throw new ServiceUnavailableHttpException(message: 'INGEST_FORWARD_SECRET is not set, or not base64.');
        }
        if (!self::isSigned($request, $keys)) {  // a dead letter at the ingester
            throw new RejectWebhookException(401, 'This call is not signed with our secret, or not now.');
        }
        $fields = self::fields((string) $request->headers->get('Content-Type'), $request->getContent());
        $type = $fields['type'] ?? $fields['action'] ?? null;

        return new RemoteEvent(
            \is_string($type) ? $type : 'unknown',
            (string) $request->headers->get('webhook-id'),  // the same as X-Ingest-Delivery-Id, but signed
            $fields,
        );
    }

    /** The keys that secrets stand for; empty if there is none, or one of them is not base64. */
    private static function keys(#[\SensitiveParameter] string $secrets): array
    {
        $keys = array_map(
            fn (string $secret) => base64_decode(preg_replace('/^whsec_/', '', trim($secret)), true),
            explode(',', $secrets),
        );

        return array_filter($keys) === $keys ? $keys : [];  // an empty key would let anybody sign
    }

    private static function isSigned(Request $request, #[\SensitiveParameter] array $keys): bool
    {
        $id = (string) $request->headers->get('webhook-id');
        $time = (string) $request->headers->get('webhook-timestamp');
        if ('' === $id || !ctype_digit($time) || abs(time() - (int) $time) > self::TOLERANCE) {
            return false;
        }
        $signed = false;
        foreach ($keys as $key) {
            $hash = hash_hmac('sha256', "$id.$time.{$request->getContent()}", $key, true);
            foreach (explode(' ', (string) $request->headers->get('webhook-signature')) as $signature) {
                $signed = hash_equals('v1,'.base64_encode($hash), $signature) || $signed;
            }
        }

        return $signed;
    }

    /** The fields of a body, as PHP would have them in $_POST. */
    private static function fields(string $contentType, string $body): array
    {
        if (false !== stripos($contentType, 'json')) {
            $fields = json_decode($body, true, 512, \JSON_BIGINT_AS_STRING | \JSON_INVALID_UTF8_SUBSTITUTE);

            return \is_array($fields) ? $fields : throw new RejectWebhookException(422, 'The body is no JSON object.');
        }
        if (substr_count($body, '&') >= (int) \ini_get('max_input_vars')) {
            throw new RejectWebhookException(413, 'The form has more fields than max_input_vars in php.ini.');
        }
        parse_str($body, $fields);

        return $fields;
    }
}
