<?php

namespace App\Http\Middleware;

use Closure;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Log;

/** Lets through only what our own ingester has signed a short time ago, by the rules of Standard Webhooks. */
class VerifyIngester
{
    /** Seconds by which the clocks of the ingester and of this machine may differ. */
    private const TOLERANCE = 300;

    public function handle(Request $request, Closure $next)
    {
        $keys = self::keys((string) config('copernica.secrets'));
        if ($keys === []) {
            Log::error('INGEST_FORWARD_SECRET is not set, or not base64: copy it from the ingester.');

            return response('There is no secret yet.', 503);  // the ingester tries again later
        }
        if (! self::isSigned($request, $keys)) {
            return response('This call is not signed with our secret, or not now.', 401);  // makes a dead letter
        }

        return $next($request);
    }

    /** The keys that secrets stand for; empty if there is none, or one of them is not base64. */
    private static function keys(string $secrets): array
    {
        $keys = array_map(
            fn (string $secret) => base64_decode(preg_replace('/^whsec_/', '', trim($secret)), true),
            explode(',', $secrets),
        );

        return array_filter($keys) === $keys ? $keys : [];  // an empty key would let anybody sign
    }

    private static function isSigned(Request $request, array $keys): bool
    {
        $id = (string) $request->header('webhook-id');
        $time = (string) $request->header('webhook-timestamp');
        if ($id === '' || ! ctype_digit($time) || abs(time() - (int) $time) > self::TOLERANCE) {
            return false;
        }
        $signed = false;
        foreach ($keys as $key) {
            $hash = hash_hmac('sha256', "$id.$time.{$request->getContent()}", $key, true);
            foreach (explode(' ', (string) $request->header('webhook-signature')) as $signature) {
                $signed = hash_equals('v1,'.base64_encode($hash), $signature) || $signed;
            }
        }

        return $signed;
    }
}
