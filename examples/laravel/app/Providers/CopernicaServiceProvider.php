<?php

namespace App\Providers;

use App\Http\Controllers\CopernicaController;
use App\Http\Middleware\VerifyIngester;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;

/**
 * The route of the ingester's calls. It is in no group: those of `web` ask for a CSRF token, and those of `api` take
 * 60 calls a minute.
 */
class CopernicaServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->mergeConfigFrom(config_path('copernica.php'), 'copernica');
    }

    public function boot(): void
    {
        if (! $this->app->routesAreCached()) {
            Route::post(config('copernica.path'), CopernicaController::class)->middleware(VerifyIngester::class);
        }
    }
}
